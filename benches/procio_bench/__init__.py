"""The benchmark of procio: cases, peers, workers, report."""
