"""Where a home's shared folders stand: on this machine alone, or in an object store that several machines share."""
