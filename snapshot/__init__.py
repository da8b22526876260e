"""What must be true of a server before it is snapshotted, and again after it was restored.

    lifecycle    one server's way through a snapshot, whoever takes it: prepare, resume
    bring_up     a server made ready without an event loop
    question     one question to it, over a connection that does not outlive the answer
    warm_up      the requests that make a loaded server a warm one
    connections  which connections a process has open

On a machine with a GPU of its own:
    gpu_state     what a process tree has on its GPUs, parked in host memory and restored
    cuda          the driver's functions for it
    nvml          how much GPU memory is free
    process_tree  which processes there are
"""
