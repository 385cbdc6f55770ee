"""The REST service: takes datasets and selections in, gives progress and subsets out. It never loads a model."""
