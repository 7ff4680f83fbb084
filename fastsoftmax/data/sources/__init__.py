"""Where the chunks of rows that kernels get come from: arrays and sparse matrices in `memory`."""
