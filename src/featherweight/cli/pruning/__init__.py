"""The steps of ``featherweight prune``: of weights, of channels, and of both."""
