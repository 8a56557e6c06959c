from textok.budgets.encoder import SoftBudget as SoftBudget
from textok.budgets.encoder import SoftEncoder as SoftEncoder
from textok.codec import TtkReader as TtkReader
from textok.codec import TtkWriter as TtkWriter
from textok.models.dit import DiT as DiT
from textok.models.dit import DiTConfig as DiTConfig
from textok.models.maskgit import MaskGIT as MaskGIT
from textok.models.maskgit import MaskGITConfig as MaskGITConfig
from textok.models.text import TextCondition as TextCondition
from textok.models.text_encoder import TextEncoder as TextEncoder
from textok.models.tokenizer import TexTok as TexTok
from textok.models.tokenizer import TexTokConfig as TexTokConfig
from textok.pipeline.as_diffusers import AutoencoderTexTok as AutoencoderTexTok
from textok.pipeline.as_diffusers import TexTokPipeline as TexTokPipeline
from textok.pipeline.generation import Pipeline as Pipeline
from textok.pipeline.image_tokenizer import ImageTokenizer as ImageTokenizer
from textok.pipeline.tokens import Tokens as Tokens
from textok.pipeline.tokens import load_tokens as load_tokens
from textok.pipeline.tokens import save_tokens as save_tokens

__version__: str
