"""`hime prove`: clips through real calls, and what of their faces arrives."""
