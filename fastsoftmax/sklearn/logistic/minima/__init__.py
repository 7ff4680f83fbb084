"""Minima of what scikit-learn asks for: `path`, for a list of C; `small`, of small problems; `absent`, without some
classes; `polish`, the last digits with l1."""
