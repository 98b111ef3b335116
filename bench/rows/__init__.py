"""The workloads of rows are measured on data that anybody has: a night, peers, and ways of distilling."""
