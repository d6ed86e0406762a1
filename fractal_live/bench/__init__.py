"""What the instrument is measured by, beside others in the same run."""
