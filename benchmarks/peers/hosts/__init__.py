"""A linear layer and its loss within other libraries: by what they have themselves, and by ours."""
