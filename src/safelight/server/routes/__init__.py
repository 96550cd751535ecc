"""One file for each family of routes, or for each large part of one."""
