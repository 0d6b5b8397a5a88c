"""One frozen dataclass a stage: what the command line, the YAML recipes and the manifests hold.

The sentence under a field is its help text, with its unit. Knows nothing of what the stages do with it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class SampleSettings:
    """Draw product photos with titles, categories and prices that can be read off them, or a synthetic twin of a dataset folder."""

    output: Path
    """Folder to make: a dataset folder, with the whole table in it as products.csv (the cookbook's 17 columns, or a twin's own)."""
    like: Path | None = None
    """Dataset folder to draw a twin of: its structure with no title, code, address or photo of it; the invented shop when left out."""
    rows: int | None = None
    """How many products (rows) to draw; 3,000 when left out, for a twin as many as the real set has."""
    photos: int | None = None
    """How many rows get a photo and stand in the dataset folder; all when left out. 0 makes products.csv alone."""
    seed: int = 0
    """Same seed, same bytes."""
    size: int = 336
    """Longer side of a photo, in pixels; a twin's photos have the sizes of the real ones."""
    processes: int = 0
    """Worker processes; 0 takes one for each processor."""
    overwrite: bool = False
    """Replace the folder if it is there."""


@dataclass(frozen=True)
class ImportSettings:
    """Turn a table with photos, or a folder of photos, into a dataset folder."""

    source: str | Path
    """A .csv, .tsv, .jsonl, .json or .parquet file, a folder of photos or of tables, or a Hugging Face data set as owner/name."""
    output: Path
    """Dataset folder to make."""
    task: Path | None = None
    """YAML file with question, answer, fields and perhaps columns; the source's own when left out (of a table: the product task)."""
    columns: dict[str, str] | None = None
    """Which column holds what, as field=column, over the task file's; also photo=, id=, group=, split=. E.g. {"photo": "imageurl"}."""
    photos: Path | None = None
    """Folder that relative photo paths start from; the table's own folder when left out."""
    seed: int = 0
    """Decides which groups go to which split."""
    earlier: Path | None = None
    """An earlier dataset folder of the same source: its records keep their split, its downloaded photos are not fetched again."""
    connections: int = 96
    """Photos fetched from the web at once, in all."""
    connections_per_host: int = 48
    """Photos fetched at once from one host; it starts with 2, and a host that fails or asks for patience gets fewer."""
    timeout: float = 30.0
    """Seconds without a byte after which a download is broken off; connecting may take a third of it, a whole photo four times of it."""
    retries: int = 4
    """How often a photo is asked for again after a failure that may pass: a timeout, a reset, a body cut short, 408, 425, 429, 5xx."""
    allow_private_addresses: bool = False
    """Fetch photos from loopback, private, link-local and reserved addresses too: only for a table that you trust."""
    processes: int = 0
    """Worker processes; 0 takes one for each processor."""
    overwrite: bool = False
    """Replace the folder if it is there."""


@dataclass(frozen=True)
class CheckSettings:
    """Prove that it will work, before the hours are spent: a dataset folder (splits, leaks, photos, cells, and a page of it all), or a
    training (photos in their places, labels, gradients, memory and hours)."""

    target: Path
    """A dataset folder, made by sample or import; or a YAML file of train settings, or a run folder."""
    data: Path | None = None
    """Dataset folder, for train settings that name none and for a run whose dataset was moved."""
    output: Path | None = None
    """HTML page to write; DATASET-check.html beside the dataset folder when left out."""
    photos: int = 0
    """How many photos to open and compare, evenly spread over the folder; 0 takes all."""
    processes: int = 0
    """Worker processes; 0 takes one for each processor."""


@dataclass(frozen=True)
class TrainSettings:
    """Fine-tune a model on a dataset folder."""

    data: Path
    """Dataset folder, made by sample or import."""
    output_dir: Path
    """Run folder to make, or to go on with."""
    model: str = "microsoft/Phi-3.5-vision-instruct"
    """A Hub id or a folder of Phi-3-vision or Phi-3.5-vision; "tiny" makes a small one that learns on a CPU."""

    method: Literal["auto", "lora", "full"] = "auto"
    """How the parts below are trained that say auto: full for tiny, LoRA for all else."""
    language: Literal["auto", "frozen", "lora", "full"] = "auto"
    """What is trained of the language model."""
    projector: Literal["auto", "frozen", "lora", "full"] = "auto"
    """What is trained of the projector and the separators between CLIP tower and language model."""
    vision: Literal["auto", "frozen", "lora", "full"] = "auto"
    """What is trained of the CLIP tower; frozen lets its features be computed once and kept."""
    lora_rank: int = 64
    """Rank of the LoRA matrices."""
    lora_alpha: int = 16
    """LoRA updates are scaled by alpha / rank, with use_rslora by alpha / sqrt(rank)."""
    lora_dropout: float = 0.05
    """Dropout before the LoRA matrices."""
    lora_targets: list[str] | None = None
    """Names of the linear layers that get LoRA, e.g. [self_attn, img_projection], some in every part that says lora; left out: all."""
    use_dora: bool = False
    """Weight-decomposed LoRA: a magnitude of its own for every row; slower, often better at low rank."""
    use_rslora: bool = False
    """Rank-stabilised LoRA: keeps the size of the update at high rank."""
    load_in_4bit: bool = False
    """QLoRA: the frozen weights of the language model in 4 bits (bitsandbytes, extra `quant`)."""

    num_crops: int | None = None
    """Most 336-pixel tiles a photo is cut into; the model's own (16 or 4; tiny: 1) when left out."""
    augment: float = 0.0
    """Strength of random shift, zoom and light of training photos, 0 (none) to 1."""

    num_train_epochs: float = 3.0
    """Passes over the train split."""
    max_steps: int = -1
    """Optimizer steps; overrides num_train_epochs when above 0."""
    per_device_train_batch_size: int = 1
    """Records in a forward pass."""
    per_device_eval_batch_size: int = 4
    """Records in a validation pass, and in generation."""
    gradient_accumulation_steps: int = 16
    """Forward passes in an optimizer step, on each device."""
    group_by_length: bool = True
    """Records of about the same number of tokens stand in a batch, so that little is padding."""
    max_tokens_per_batch: int = 0
    """Most tokens in a forward pass, padding included: batches of short records hold more of them; 0 leaves it to the batch size."""
    packing: bool = False
    """Records of a batch stand in one row without padding, none sees another; needs an attention backend that can."""
    auto_find_batch_size: bool = False
    """Halve the records in a forward pass (and double the accumulation; 3 become 1 three times) until one fits into the GPU's memory."""

    optim: Literal["adamw", "muon"] = "adamw"
    """muon: Muon for the matrices inside the layers, AdamW for the rest; for weights that start at random, such as tiny's."""
    learning_rate: float = 2e-4
    """Highest learning rate."""
    language_learning_rate: float | None = None
    """Of the language model; learning_rate when left out."""
    projector_learning_rate: float | None = None
    """Of the projector; learning_rate when left out."""
    vision_learning_rate: float | None = None
    """Of the CLIP tower; learning_rate when left out."""
    weight_decay: float = 0.0
    """Of matrices; norms, biases and embeddings have none."""
    adam_beta1: float = 0.9
    """Decay of AdamW's mean of gradients."""
    adam_beta2: float = 0.999
    """Decay of AdamW's mean of squared gradients."""
    lr_scheduler_type: str = "cosine"
    """Name of a transformers schedule."""
    warmup_ratio: float = 0.03
    """Share of the steps over which the learning rate rises."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""

    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """auto: bfloat16 where the GPU has it, float32 on the CPU."""
    attn_implementation: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """auto: flash attention where it is installed and a GPU is there, else SDPA."""
    gradient_checkpointing: bool | Literal["auto"] = "auto"
    """Recompute activations instead of keeping them; auto: where the estimate says that they do not fit."""
    torch_compile: bool = False
    """Compile the layers: a minute or two at the start, a faster step after it."""
    vision_cache: bool | Literal["auto"] = "auto"
    """Compute a frozen CLIP tower's features once and keep them on disk; auto: when it is frozen and photos are not augmented."""
    vision_cache_dir: Path | None = None
    """Where these features are kept; beside the dataset folder, as DATA-features, when left out."""
    dataloader_num_workers: int = 0
    """Worker processes that decode photos; 0 decodes in the training process."""
    photo_memory: int = 1000
    """Most megabytes of decoded photos that are kept between passes; used without worker processes."""
    strategy: Literal["auto", "ddp", "fsdp", "deepspeed"] = "auto"
    """Of several processes: ddp (each holds the whole model), fsdp (FSDP2: each a slice of it), deepspeed; auto: as accelerate launch says,
    else ddp."""
    num_threads: int = 0
    """Threads of a process on the CPU; 0 takes one for each processor that it may use."""

    evals_per_run: int = 8
    """How often the validation loss is measured and a checkpoint written; 0 only at the end."""
    eval_records: int = 16
    """Validation records that are answered for the tracker's table at each evaluation."""
    save_steps: int = 0
    """Optimizer steps between checkpoints beside those at the evaluations; 0 writes no others."""
    save_total_limit: int = 2
    """Checkpoints kept; the best and the last are always among them."""
    logging_steps: int = 0
    """Optimizer steps between lines of log.jsonl; 0: five lines between two evaluations."""
    resume_from_checkpoint: str = "auto"
    """auto goes on with the run folder's last whole checkpoint; a checkpoint folder goes on with that one; "never" does not."""
    doctor: bool = True
    """Check one batch before the first step: photos in their places, labels, gradients, and that the photo matters."""
    overfit_steps: int = 0
    """With doctor: steps on one batch, after which its loss must have fallen to a tenth; the weights are put back. 0 leaves it out."""

    seed: int = 0
    """Of weights, order and dropout."""
    report_to: str = "wandb"
    """Trackers besides log.jsonl, separated by commas: wandb, tensorboard, trackio; or none."""
    run_name: str | None = None
    """Name of the run at the tracker; the run folder's name when left out."""
    project: str = "seeworth"
    """Project at the tracker."""
    overwrite: bool = False
    """Replace the run folder if it is there."""


@dataclass(frozen=True)
class PredictSettings:
    """Answer the task's question for photos, by real generation: one photo or a million, going on where a stopped one was."""

    model: str
    """A run folder; or, with a task, a Hub id or a folder of Phi-3-vision weights, such as a merged export."""
    input: Path
    """A photo, a folder of photos, a .csv, .tsv, .jsonl, .json or .parquet table, conversations, or a dataset folder."""
    output: Path = Path("predictions.jsonl")
    """File to write, one line a photo: .jsonl, or .csv or .parquet with the .jsonl beside it."""
    split: Literal["train", "validation", "test", "all"] = "test"
    """Which records of a dataset folder."""
    columns: dict[str, str] | None = None
    """Which column of a table holds what: photo=, id=, and field=column for fields that the question names. E.g. {"photo": "imageurl"}."""
    photos: Path | None = None
    """Folder that a table's photo paths start from; the table's own folder when left out."""
    task: Path | None = None
    """YAML file with question, answer and fields, for a model that is no run; MODEL/task.yaml when there is one."""
    batch_size: int = 16
    """Photos answered together."""
    max_new_tokens: int = 160
    """Longest free answer, in tokens; in a constrained one, most tokens of free words in a field."""
    constrained: bool = True
    """Hold answers to the task: the template's words, numbers that are numbers, known categories; false leaves the model's words free."""
    free_categories: bool = False
    """With constrained: any words as a category, not only the task's choices or those of the train records."""
    distribution: bool = True
    """With constrained: tell how likely each category and number was, not only the likeliest."""
    samples: int = 0
    """Answers drawn beside the likeliest, from one reading of the prompt; without distribution they tell how likely each value was."""
    decode_threads: int = 0
    """Threads that read and decode photos ahead of the model; 0 takes one for each processor, at most 8."""
    engine: Literal["local", "ray"] = "local"
    """local: this process. ray: actors of a Ray cluster, each with the model; photos are read here and sent (extra `ray`)."""
    ray_address: str | None = None
    """With ray: address of a cluster that this machine is part of, or "auto"; left out, Ray is started on this machine alone."""
    ray_actors: int = 0
    """With ray: how many actors; 0 takes as many as there are GPUs, and where there are none one a node."""
    ray_gpus: float | None = None
    """With ray: GPUs of an actor, a share of one too (0.5); left out, 1 where a node has any, else 0."""
    overwrite: bool = False
    """Replace the file if it is there, and forget what an unfinished one holds."""


@dataclass(frozen=True)
class EvaluateSettings:
    """Measure a run against truth, baselines and missing photos."""

    run: Path
    """A run folder, or a predictions.jsonl file (then --data is needed and grounding is left out)."""
    data: Path | None = None
    """Dataset folder; the one the run was trained on when left out."""
    output: Path | None = None
    """Evaluation folder to make; RUN/evaluation when left out."""
    split: Literal["train", "validation", "test"] = "test"
    """Which records to measure on."""
    grounding_records: int = 300
    """Records asked again with spoilt photos and with none; 0 leaves grounding out."""
    grounding_modes: str = "blank,swapped,same_category,blur,text"
    """How photos are spoilt, separated by commas: blank, swapped (another record's), same_category, blur (a ladder), text (no photo)."""
    allow_ungrounded: bool = False
    """End with status 0 although the answers do not come from the photo."""
    occlusion: int = 0
    """Records of the gallery, at most 24, whose photos are covered part by part to see what the answer hangs on; 37 answers each."""
    slices: str = ""
    """Columns by whose values figures are given once more, separated by commas."""
    baselines: Literal["all", "cheap"] = "all"
    """cheap leaves out those that ask the model: heads on its vision features, and the model before fine-tuning."""
    batch_size: int = 16
    """Photos answered together."""
    max_new_tokens: int = 160
    """Longest free answer, in tokens; in a constrained one, most tokens of free words in a field."""
    constrained: bool = True
    """Hold answers to the task: the template's words, numbers that are numbers, known categories; false leaves the model's words free."""
    free_categories: bool = False
    """With constrained: any words as a category, not only the task's choices or those of the train records."""
    distribution: bool = True
    """With constrained: tell how likely each category and number was, not only the likeliest."""
    samples: int = 0
    """Answers drawn beside the likeliest, from one reading of the prompt; without distribution they tell how likely each value was."""
    bootstrap: int = 2000
    """Resamples of groups behind each 95 % interval."""
    seed: int = 0
    """Of the resampling, of the photo swap and of the samples."""
    against: Path | None = None
    """A run that was evaluated, an evaluation folder or a predictions.jsonl: the same records are compared, paired."""
    calibrate: bool = True
    """Answer the validation split too, and make intervals.json from it: intervals of numbers, and when to abstain."""
    calibration: Path | None = None
    """A predictions.jsonl of the validation split, which is then not answered once more."""
    coverage: float = 0.9
    """Share of true numbers that are to lie inside their intervals, 0.5 to below 1."""
    abstain_error: float = 0.1
    """Share of wrong answers among those given, at which abstaining aims; a number more than 25 % off is wrong."""
    overwrite: bool = False
    """Replace the folder if it is there."""


@dataclass(frozen=True)
class ReportSettings:
    """Draw an evaluation as one HTML file."""

    evaluation: Path
    """Evaluation folder."""
    output: Path | None = None
    """File to write; EVALUATION/report.html when left out."""


@dataclass(frozen=True)
class ServeSettings:
    """Answer photos over HTTP, with a web page, an API of our own and one that OpenAI's clients speak to."""

    run: Path
    """A run folder."""
    host: str = "127.0.0.1"
    """Address to listen on; one that other machines reach needs an API key."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    api_key_file: Path | None = None
    """File whose first line is the API key that requests must bring; else the environment variable SEEWORTH_API_KEY, if it is set."""
    allowed_hosts: str = ""
    """Host names that requests may be addressed to, separated by commas; when left out localhost's, and any where --host is another."""
    batch_size: int = 32
    """Most photos answered together; those that wait while a batch is answered go into the next one."""
    max_tokens_per_batch: int = 16384
    """Most tokens of a batch, padding and answers included: what bounds the memory of its cache. A longer prompt is refused."""
    queue_size: int = 256
    """Most photos taken and not answered yet; a request beyond that is told to come back later (status 429)."""
    timeout: float = 60.0
    """Seconds within which a request is answered, from when its body is there; status 504 after that."""
    max_new_tokens: int = 160
    """Longest free answer, in tokens; in a constrained one, most tokens of free words in a field."""
    max_chat_tokens: int = 1024
    """Longest answer in a chat, in tokens, whatever the request asks for."""
    constrained: bool = True
    """Hold answers to the task: the template's words, numbers that are numbers, known categories; false leaves the model's words free."""
    free_categories: bool = False
    """With constrained: any words as a category, not only the task's choices or those of the train records."""
    distribution: bool = True
    """With constrained: tell how likely each category and number was, not only the likeliest."""
    max_photos: int = 16
    """Most photos in a request."""
    max_bytes: int = 33_554_432
    """Most bytes of a request's body."""
    max_memory: int = 512
    """Most megabytes of bodies of all requests at once."""
    max_pixels: int = 50_000_000
    """Most pixels of a photo."""
    receive_timeout: float = 30.0
    """Seconds within which a request's headers, then its body, and each part of an answer on its way out, have to be through."""
    max_connections: int = 1000
    """Most connections at once."""
    photo_threads: int = 2
    """Threads that open photos beside the model."""
    num_threads: int = 0
    """Threads of the model on the CPU; 0 takes one for each processor but one, which is left to requests and photos."""
    similar: bool = True
    """Offer /v1/similar: the train photos that the model finds most alike; their index is made after the start."""
    occlusion: bool = True
    """Offer /v1/occlusion: which parts of a photo an answer hangs on."""
    shutdown_timeout: float = 60.0
    """Seconds within which requests that were taken are finished when the server is told to stop."""


@dataclass(frozen=True)
class ExportSettings:
    """Turn a run into a folder that other engines load, and prove that both answer alike."""

    run: Path
    """A run folder."""
    output: Path
    """Folder to make; it must lie outside the run folder."""
    merge: bool = False
    """Add the adapter into the weights it was trained on; without it a LoRA run is exported as an adapter. A full run is whole already."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Of the merged weights; auto: the run's own."""
    max_shard_size: str = "5GB"
    """Most bytes of one weights file, e.g. 500MB; larger models are cut into several, with an index."""
    load_in_4bit: bool = False
    """Quantise the merged language model to 4 bits (bitsandbytes, extra `quant`)."""
    base_model: str | None = None
    """Hub id of the model that the training began with, for the card and for the published code; the run's own when left out."""
    evaluation: Path | None = None
    """Evaluation folder that the card tells figures from; RUN/evaluation when left out."""
    probes: int = 16
    """Records that run and export both answer, to prove that they agree."""
    photos: Path | None = None
    """A photo, a folder of photos, a table or a dataset folder to prove it on; the test split of the run's dataset when left out."""
    batch_size: int = 16
    """Photos answered together."""
    max_new_tokens: int = 160
    """Longest free answer, in tokens; in a constrained one, most tokens of free words in a field."""
    push: str | None = None
    """Name of a Hugging Face repository, owner/name, to upload the export to, private unless --public."""
    public: bool = False
    """Make the repository public."""
    overwrite: bool = False
    """Replace the export folder if it is there, and files in a repository that holds some already."""


@dataclass(frozen=True)
class DemoSettings:
    """Everything, on this machine's CPU, with no network: sample, train, evaluate, report."""

    output_dir: Path = Path("demo")
    """Folder for data, run and evaluation; finished stages in it are kept."""
    rows: int = 7000
    """Products to draw."""
    seed: int = 0
    """Of everything."""


def to_plain(settings: Any) -> dict[str, Any]:
    """A settings object as YAML and JSON can hold it (paths become text)."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings).items()}
