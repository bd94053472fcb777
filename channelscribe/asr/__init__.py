"""Speech to text: windows of all videos in flight share every batch."""
