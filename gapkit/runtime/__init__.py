"""Use of the computer: threads, memory, clusters, files, progress."""
