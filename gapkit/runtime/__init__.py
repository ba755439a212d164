"""The machine under the work: threads, memory, clusters, files, progress."""
