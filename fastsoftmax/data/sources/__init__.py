"""Where chunks of rows come from."""
