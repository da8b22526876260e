"""What Prometheus is told.

series    every series that is counted as things happen: names, help, labels, buckets
counting  an observer that counts ended requests
state     what is read when somebody asks: queue, server, llama-server's own series
parking   the same, of a server that is parked while nobody uses it
metrics   all of them together, written in the format that was asked for
"""
