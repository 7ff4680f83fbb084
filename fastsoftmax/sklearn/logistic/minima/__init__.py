"""Minima of what scikit-learn asks for: `path`, for a list of C; `small`, of small problems; `absent`, where a class has
no weight; `polish`, the last digits with l1."""
