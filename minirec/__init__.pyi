from minirec.client import AsyncMiniRec as AsyncMiniRec
from minirec.client import MiniRec as MiniRec

__version__: str
