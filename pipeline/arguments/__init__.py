"""What each command of the command line takes: one file a family, read before anything heavy is imported."""
