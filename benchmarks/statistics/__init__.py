"""What differences and shares of rows prove: exact tests, intervals and bounds."""
