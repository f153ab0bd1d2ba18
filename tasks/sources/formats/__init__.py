"""The formats of public data sets and annotation tools: one small file each."""
