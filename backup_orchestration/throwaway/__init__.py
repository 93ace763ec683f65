"""Throwaway labs: isolated places built for one restore test and destroyed after it, whatever happens."""
