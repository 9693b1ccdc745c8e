"""Where threads are kept: one seam, one contract, several stores."""
