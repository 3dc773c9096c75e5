"""The table `ablations`, with forms of BCQ that are wrong on purpose."""
