"""One block of rows: packing, products, softmax, reduction."""
