"""This benchmark measures the kind `text` on published sets, beside scikit-learn on the same rows."""
