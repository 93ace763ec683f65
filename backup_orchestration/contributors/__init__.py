"""Contributors: each declares the policies of one service. A service is one file; users add their own."""
