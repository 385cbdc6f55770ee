"""The REST service: takes datasets and selections in, gives progress and subsets out. It never loads a model."""

from minirec.api_schemas.common import build_validators

# FastAPI takes over from the models whether to defer, and then warns of annotations that it made itself.
build_validators()
