"""What must be true of a server before it is snapshotted, and again after it was restored.

warm_up   the requests that make a loaded server a warm one

On a machine with a GPU of its own:
    gpu_state     what a process tree has on its GPUs, parked in host memory and restored
    cuda          the driver's functions for it
    nvml          how much GPU memory is free
    process_tree  which processes there are
"""
