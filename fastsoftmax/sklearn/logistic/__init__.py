"""scikit-learn's logistic regression on these kernels: `host`, what is used of scikit-learn's own code; `call`, what a
fit is asked for; `objective`, the same as our objective; `minima`, where it is lowest; `folds`, of cross-validation."""
