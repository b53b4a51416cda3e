"""The gate: system calls, instructions and allocations of a few operations, against the last figures."""
