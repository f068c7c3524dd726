"""How a gallery version is searched."""

from __future__ import annotations

from pydantic import Field

from hallmark.config import Config


class IndexConfig(Config):
    """Exact search to a bound, a compressed index beyond it."""

    exact_limit: int = Field(20_000, ge=0, description="references up to which every one is compared")
    components: int = Field(256, ge=8, description="leading components of a descriptor that are kept, one byte each")
    lists: int | None = Field(None, ge=1, description="lists of neighbours; null = from the number of references")
    training_limit: int = Field(40_000, ge=1, description="references that the index is trained on at most")
    sample: int = Field(200, ge=1, description="references that the recall is measured with")
    shortlist: int = Field(256, ge=10, description="proposals that are compared exactly")
    probe_loss: float = Field(
        0.001, ge=0, le=1, description="recall that may be lost, on the sample, by not looking into every list"
    )
    least_recall: float = Field(0.99, gt=0, le=1, description="of the ten nearest, below which a warning is logged")
    product_limit: int = Field(4096, ge=1, description="references of a product up to which all of them are compared")
    waiting_limit: int = Field(
        4096, ge=0, description="references enrolled since that are compared exactly before they are added to the index"
    )
