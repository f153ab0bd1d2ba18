"""When and in what order: the flows, the recipes and the command line."""
