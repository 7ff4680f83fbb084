"""Tables and plots of the saved results; nothing is measured here."""
