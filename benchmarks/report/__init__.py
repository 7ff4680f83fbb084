"""Tables and pictures from the saved results."""
