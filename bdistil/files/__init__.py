"""The user's files and folders, read into frames and arrays; what they mean is for `data`."""
