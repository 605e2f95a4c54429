// Host code in a CUDA source: its cubin is empty.
int answer() { return 42; }
