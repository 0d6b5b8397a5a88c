"""What requests and answers look like: strict where the form is ours, patient where OpenAI's clients send more than is needed here.

Bodies are read from their bytes by pydantic, which bounds the depth of JSON and takes neither NaN nor broken UTF-8.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mM8IafBgA0wMeAAg1MCANh8AR6FrdlEAAAAAElFTkSuQmCC"
REF = "#/components/schemas/{model}"
MOST_WORDS = 200_000  # characters of a text; its tokens are counted before they are answered


class Strict(BaseModel):
    """Nothing that is not named here."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


Address = Annotated[str, Field(json_schema_extra={"format": "data-uri"})]


class PhotoBody(Strict):
    """One photo, or several, as data URIs."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"photo": PIXEL}, {"photos": [PIXEL, PIXEL]}]})

    photo: Address | None = Field(None, description="data:image/...;base64,...")
    photos: list[Address] | None = Field(None, description="several of them", max_length=1000)
    values: dict[str, str | int | float] = Field(default_factory=dict, description="fields that the task's question names")


class Error(BaseModel):
    """Why there is no answer."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """An answer that is none."""

    error: Error


class PhotoInfo(BaseModel):
    """A photo as it came."""

    width: int | None
    height: int | None
    sha256: str | None
    name: str | None


class Seconds(BaseModel):
    """That a photo waited, and that its batch took."""

    queue: float
    answer: float


class Answered(BaseModel):
    """What the model said of one photo, and what was read from it."""

    text: str
    values: dict[str, str | float]
    problems: list[str]
    intervals: dict[str, list[float | None]]
    confidence: dict[str, float]
    distribution: dict[str, dict[str, Any]]
    abstain: bool
    abstain_why: str | None
    seconds: Seconds
    photo: PhotoInfo


class Unusable(BaseModel):
    """A photo that cannot be used."""

    error: Error
    photo: PhotoInfo


class Predicted(BaseModel):
    """One entry for each photo, in their order."""

    model: str
    predictions: list[Answered | Unusable]


class TaskField(BaseModel):
    """A field of the answer."""

    name: str
    kind: Literal["text", "category", "number"]
    unit: str | None
    choices: list[str] | None


class Bounds(BaseModel):
    """Of a request."""

    max_bytes: int
    max_pixels: int
    max_photos: int


class Views(BaseModel):
    """What else can be asked of a photo."""

    similar: bool
    occlusion: bool


class TaskInfo(BaseModel):
    """What this server answers."""

    model: str
    question: str
    answer: str
    fields: list[TaskField]
    asks_for: list[str] = Field(description="fields that the question names: send them as values")
    coverage: float | None
    abstain_below: dict[str, float] | None = Field(description="a field is doubted below this confidence")
    abstain_above: dict[str, float] | None = Field(description="a field is doubted above this spread, see docs/evaluate.md")
    limits: Bounds
    views: Views


class Like(BaseModel):
    """A train record."""

    id: str
    similarity: float
    values: dict[str, str | float]
    photo: str | None


class SimilarFound(BaseModel):
    """The most similar first."""

    similar: list[Like]


class Occluded(BaseModel):
    """How each number changes, as a ratio, and the probability of each category falls, with a part of the photo covered."""

    rows: int
    columns: int
    base: dict[str, str | float]
    changes: dict[str, list[list[float | None]]]


class Status(BaseModel):
    """Of the server."""

    status: str


class Patient(BaseModel):
    """More than is named here is kept, to be told of."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class ImageUrl(Patient):
    """Where a photo is: in the address itself."""

    url: Address


class TextPart(Patient):
    """Words."""

    type: Literal["text"]
    text: str = Field(max_length=MOST_WORDS)


class ImagePart(Patient):
    """A photo."""

    type: Literal["image_url"]
    image_url: ImageUrl


class Message(Patient):
    """One turn of a chat."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, Field(max_length=MOST_WORDS)] | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]


class StreamOptions(Patient):
    """Of a streamed answer."""

    include_usage: bool = False


class ChatBody(Patient):
    """What an OpenAI client sends."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "run",
                    "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}],
                    "temperature": 0,
                }
            ]
        }
    )

    model: str
    messages: list[Message] = Field(min_length=1, max_length=256)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, le=10**9)
    max_completion_tokens: int | None = Field(None, ge=1, le=10**9)
    temperature: float | None = Field(None, description="0: answers are the likeliest words")
    n: int | None = Field(None, description="1")
    stop: str | list[str] | None = Field(None, description="not supported")
    response_format: dict[str, Any] | None = Field(None, description="type text")
    tools: list[Any] | None = Field(None, description="not supported")
    functions: list[Any] | None = Field(None, description="not supported")
    logprobs: bool | None = Field(None, description="false: see /v1/predict")
    audio: dict[str, Any] | None = Field(None, description="not supported")


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Spoken(BaseModel):
    """The answer."""

    role: Literal["assistant"]
    content: str


class Choice(BaseModel):
    """The one answer there is."""

    index: int
    message: Spoken
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class Chat(BaseModel):
    """OpenAI's chat.completion. `seeworth.ignored` names what was sent and has no effect here."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    seeworth: dict[str, Any]


class ChatError(BaseModel):
    """OpenAI's error."""

    code: str
    message: str
    type: str
    param: str | None


class ChatErrorBody(BaseModel):
    """An answer that is none, in OpenAI's form."""

    error: ChatError


class Model(BaseModel):
    """OpenAI's model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(BaseModel):
    """OpenAI's list of models."""

    object: Literal["list"]
    data: list[Model]


def json_body(kind: type[BaseModel]) -> dict[str, Any]:
    """The requestBody of an address that reads its JSON itself."""
    return {"required": True, "content": {"application/json": {"schema": {"$ref": REF.format(model=kind.__name__)}}}}


def photo_body(*, one: bool) -> dict[str, Any]:
    """The requestBody of an address that takes photos, as JSON or as a form."""
    file = {"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"}
    form = {"type": "object", "properties": {"photo": file if one else {"type": "array", "items": file}}, "required": ["photo"]}
    body = json_body(PhotoBody)
    body["content"]["multipart/form-data"] = {"schema": form}
    return body


def components(model: str) -> dict[str, Any]:
    """Schemas of bodies that FastAPI does not know of; `model` is the only one there is."""
    kinds: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [(PhotoBody, "validation"), (ChatBody, "validation")]
    found = dict(models_json_schema(kinds, ref_template=REF)[1]["$defs"])
    found["ChatBody"]["properties"]["model"]["enum"] = [model]
    found["ChatBody"]["examples"] = [example | {"model": model} for example in found["ChatBody"]["examples"]]
    return found


def errors(*more: int, kind: type[BaseModel] = ErrorBody) -> dict[int | str, dict[str, Any]]:
    """The answers of an address that are none, by status: what the guard and the queue may say, and `more`."""
    return {status: {"model": kind} for status in (*more, 400, 401, 403, 408, 413, 429, 500, 503, 504)}
