"""Every error a user can meet.

Each class carries a stable ``code``, one sentence that explains it, a hint that says what would be right,
an HTTP status and a command-line exit code. Nothing else is raised on purpose. ``catalogue()`` lists them;
``docs/errors.md`` is rendered from it and a test compares the two.
"""

from __future__ import annotations

from typing import ClassVar


class SafelightError(Exception):
    """A failure that Safelight understands.

    Args:
        message: What was wrong with this very input, in one sentence.
        hint: What would be right; the class's own hint when not given.
    """

    code: ClassVar[str] = "safelight"
    summary: ClassVar[str] = "Something Safelight understands went wrong."
    default_hint: ClassVar[str] = ""
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 3

    def __init__(self, message: str | None = None, *, hint: str | None = None) -> None:
        self.message = message or self.summary
        self.hint = self.default_hint if hint is None else hint
        super().__init__(self.message)

    def to_dict(self) -> dict[str, str]:
        """The error as it appears in JSON output: code, message and, where there is one, a hint."""
        body = {"code": self.code, "message": self.message}
        return body | {"hint": self.hint} if self.hint else body


class InputError(SafelightError):
    """What the user gave cannot be used."""

    code = "input"
    summary = "The input cannot be used."
    http_status = 400
    exit_code = 2


class UsageError(InputError):
    """Options that contradict each other or are out of range."""

    code = "usage"
    summary = "The command or its options cannot be used like this."
    default_hint = "Run the command with --help."


class SettingsError(InputError):
    """A setting in safelight.toml, the environment or a flag is wrong."""

    code = "settings"
    summary = "A setting has a value that cannot be used."
    default_hint = "docs/settings.md lists every setting with its range."


class FileMissingError(InputError):
    """A path names nothing that can be read."""

    code = "file.missing"
    summary = "The file or folder does not exist or cannot be read."
    default_hint = "Check the path and its permissions."
    http_status = 404


class OutputError(InputError):
    """A result cannot be written where it was asked for."""

    code = "output"
    summary = "The result cannot be written there."
    default_hint = "Choose a folder you may write to, on a disk with space left."


class OutputExistsError(OutputError):
    """Writing would replace something that is already there."""

    code = "output.exists"
    summary = "The output is already there and would be replaced."
    default_hint = "Give another name, or pass --overwrite; a scan that was cut short goes on with --resume."
    http_status = 409


class ImageError(InputError):
    """A picture cannot be decoded."""

    code = "image"
    summary = "The picture cannot be read."
    http_status = 422


class ImageEmptyError(ImageError):
    """No bytes at all."""

    code = "image.empty"
    summary = "The file is empty."
    default_hint = "The upload or copy may have been cut short; send it again."


class ImageNotRecognisedError(ImageError):
    """The bytes are not those of any picture."""

    code = "image.not_recognised"
    summary = "The content is not a picture of any known format."
    default_hint = (
        "The content decides, not the file's extension: give a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC."
    )
    http_status = 415


class ImageFormatError(ImageError):
    """A picture format that Safelight does not open."""

    code = "image.format"
    summary = "This picture format is not opened."
    default_hint = "Convert it to JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC."
    http_status = 415


class ImageTruncatedError(ImageError):
    """The picture ends too early."""

    code = "image.truncated"
    summary = "The picture's data ends before the picture does."
    default_hint = "The upload or copy may have been cut short; send it again."


class ImageCorruptError(ImageError):
    """The picture's data contradicts itself."""

    code = "image.corrupt"
    summary = "The picture's data is damaged."
    default_hint = "Open and save it again with an image editor, if it opens there."


class ImageZeroSizeError(ImageError):
    """Width or height is zero."""

    code = "image.zero_size"
    summary = "The picture has no pixels."
    default_hint = "Width and height must both be at least 1."


class ImageTooManyPixelsError(ImageError):
    """More pixels than the limit, by the header's own word."""

    code = "image.too_many_pixels"
    summary = "The picture has more pixels than the limit allows."
    default_hint = "Make it smaller, or raise the setting max_pixels."
    http_status = 413


class ImageTooManyBytesError(ImageError):
    """More bytes than the limit."""

    code = "image.too_many_bytes"
    summary = "The file is larger than the limit allows."
    default_hint = "Make it smaller, or raise the setting max_bytes."
    http_status = 413


class ImageArrayError(ImageError):
    """An array or image object that is no picture."""

    code = "image.array"
    summary = "The array is not a picture."
    default_hint = (
        "Give height x width, or height x width x 1, 3 or 4 channels, "
        "as uint8, uint16, bool or floats in 0..1."
    )


class PolicyError(InputError):
    """A policy file that cannot be used."""

    code = "policy.invalid"
    summary = "The policy cannot be used."
    default_hint = (
        "docs/moderation.md shows a whole policy file; the presets are strict, standard and lenient."
    )


class PolicyLabelError(PolicyError):
    """Policy and classifier speak of different labels."""

    code = "policy.labels"
    summary = "The policy does not say what some of the classifier's labels mean."
    default_hint = "Name each of the classifier's labels in the policy, under [unsafe] or in the list safe."


class RequestError(InputError):
    """A generation request with a value that cannot be drawn."""

    code = "request"
    summary = "The request has a value that cannot be drawn."
    default_hint = "docs/generation.md lists every field with its range."
    http_status = 422


class PromptError(RequestError):
    """A prompt that cannot be read."""

    code = "prompt"
    summary = "The prompt's brackets or schedules cannot be read."
    default_hint = (
        "Write a literal bracket with a backslash before it; --explain-prompt shows how a prompt is read."
    )


class WildcardError(PromptError):
    """A wildcard without a file, or one that never ends."""

    code = "prompt.wildcard"
    summary = "A wildcard of the prompt cannot be filled in."
    default_hint = (
        "A wildcard __name__ is read from wildcards/name.txt in the data directory, one choice a line."
    )


class PromptUnsupportedError(PromptError):
    """A part of a prompt that means something to other programs and nothing here."""

    code = "prompt.unsupported"
    summary = "A part of the prompt asks for something that Safelight does not do."
    default_hint = "docs/prompts.md lists such parts, and how to write them as plain words."


class StyleUnknownError(RequestError):
    """A prompt style that is not there."""

    code = "prompt.style"
    summary = "There is no prompt style of that name."


class FieldError(RequestError):
    """A field of a compatible API that asks for what is not done here.

    Args:
        message: What was asked.
        hint: What would be right.
        field: The field's name.
    """

    code = "request.field"
    summary = "A field of the request asks for something that Safelight does not do."
    default_hint = "docs/api-openai.md and docs/api-a1111.md list every field."

    def __init__(self, message: str | None = None, *, hint: str | None = None, field: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


class TextUnjudgedError(FieldError):
    """A text that nothing here can judge."""

    code = "moderation.text_unjudged"
    summary = "There is nothing here that judges texts."
    default_hint = (
        "The setting text_blocklist names a list of words to judge them by; with moderation_texts = "
        '"skip" texts beside a picture are passed over.'
    )
    http_status = 400


class BlocklistError(SafelightError):
    """The list of words that texts are judged by cannot be used."""

    code = "moderation.blocklist"
    summary = "The list of words that texts are judged by cannot be used."
    default_hint = (
        "The setting text_blocklist is the path of a text file in UTF-8, with a word or phrase a line."
    )


class AbsentError(InputError):
    """A route of a compatible API that Safelight has nothing behind."""

    code = "api.absent"
    summary = "Safelight does not do this."
    default_hint = "docs/api-a1111.md and docs/api-openai.md list what it does."
    http_status = 501


class MaskError(RequestError):
    """A mask that does not fit its picture."""

    code = "request.mask"
    summary = "The mask cannot be used with this picture."
    default_hint = "Give a mask of the picture's own size, white where it is to be drawn anew."


class SamplerUnknownError(RequestError):
    """A sampler or sigma schedule of no known name."""

    code = "sampler.unknown"
    summary = "There is no sampler or sigma schedule of that name."
    http_status = 404


class SamplerUnfitError(RequestError):
    """A sampler that this checkpoint cannot be drawn with, or a schedule that this sampler does not take."""

    code = "sampler.unfit"
    summary = "The sampler does not fit the checkpoint, or the sigma schedule does not fit the sampler."


class UnsupportedError(RequestError):
    """Something the checkpoint's family cannot do."""

    code = "request.unsupported"
    summary = "The checkpoint's family cannot do that."


class MemoryBudgetError(RequestError):
    """A picture or model larger than the memory it may use."""

    code = "memory.budget"
    summary = "This would need more memory than it may use."
    default_hint = "Ask for a smaller picture, or raise the setting memory_budget."
    http_status = 413


class UpscalerUnknownError(RequestError):
    """An upscaler of no known name."""

    code = "upscaler.unknown"
    summary = "There is no upscaler of that name."
    http_status = 404


class StoppedError(SafelightError):
    """A run that was asked to stop."""

    code = "stopped"
    summary = "The run was stopped before it was done."
    http_status = 409


class NumbersError(SafelightError):
    """A network that gave no numbers."""

    code = "generation.numbers"
    summary = "The network's result is not finite: there is no picture in it."
    default_hint = "Another precision usually helps: fp32, or bf16 instead of fp16."


class BlockedError(SafelightError):
    """A picture that the policy keeps back."""

    code = "blocked"
    summary = "The policy blocks this picture, so it was neither used nor written."
    default_hint = (
        "The message says which score and threshold decided; docs/moderation.md tells about policies."
    )
    http_status = 403
    exit_code = 1


class RecordMissingError(InputError):
    """A picture that does not say how it was made."""

    code = "record.missing"
    summary = "The picture carries no record of how it was made."
    default_hint = "Records are lost where a program saves a picture without its metadata."
    http_status = 422


class RecordInvalidError(InputError):
    """A record that cannot be read."""

    code = "record.invalid"
    summary = "The picture's record cannot be read."
    http_status = 422


class ReproduceError(InputError):
    """What a record needs and this machine has not."""

    code = "record.reproduce"
    summary = "The picture cannot be made again here."
    http_status = 409


class ModelError(InputError):
    """A model that cannot be used."""

    code = "model"
    summary = "The model cannot be used."


class ClassifierUnknownError(ModelError):
    """A classifier name that means nothing."""

    code = "model.unknown"
    summary = "There is no classifier of that name."
    default_hint = (
        "Give open-nsfw, nsfw-image-detection-384, a pulled hub id, "
        "or a folder with config.json and model.safetensors."
    )
    http_status = 404


class ModelNotPulledError(ModelError):
    """A model that is not on this machine yet."""

    code = "model.not_pulled"
    summary = "The model is not on this machine, and nothing is fetched unless you ask."
    default_hint = "Fetch it once with: safelight models pull NAME"
    http_status = 404


class ModelInvalidError(ModelError):
    """Model files that contradict themselves or the layout."""

    code = "model.invalid"
    summary = "The model's files are damaged or of another layout."
    default_hint = "A classifier folder holds timm's config.json (with label_names) and model.safetensors."
    http_status = 422


class PickleRefusedError(ModelError):
    """Weights in a format that can run code when opened."""

    code = "model.pickle_refused"
    summary = "The weights are a pickle file, which can run any code when opened, so it is refused."
    default_hint = "Convert the weights to safetensors where you trust their origin, and give that file."
    http_status = 422


class CheckpointMissingError(ModelError):
    """A checkpoint that is not there."""

    code = "checkpoint.missing"
    summary = "There is no checkpoint of that name on this machine."
    default_hint = (
        "safelight models list shows the checkpoints; a path to a folder or .safetensors file works too."
    )
    http_status = 404


class CheckpointInvalidError(ModelError):
    """Checkpoint files that are damaged or incomplete."""

    code = "checkpoint.invalid"
    summary = "The checkpoint's files are damaged or incomplete."
    default_hint = "Give a diffusers folder with model_index.json, or one .safetensors file."
    http_status = 422


class CheckpointFamilyError(ModelError):
    """A checkpoint of a family that Safelight does not draw with."""

    code = "checkpoint.family"
    summary = "The checkpoint belongs to no family that Safelight knows."
    default_hint = "safelight models families lists them."
    http_status = 422


class DigestMismatchError(ModelError):
    """A file of a model that is not the one that is pinned, or that was pulled."""

    code = "model.digest"
    summary = "A model's file is not the one that was expected."
    default_hint = "Remove the model and pull it again; if it happens twice, do not trust the source."
    http_status = 422


class DownloadError(SafelightError):
    """A download that was asked for did not succeed."""

    code = "model.download"
    summary = "The download did not succeed."
    default_hint = "Check the connection and the name, and try again; nothing half-fetched was kept."
    http_status = 502


class ExplainUnsupportedError(InputError):
    """A classifier without an exact explanation map."""

    code = "explain.unsupported"
    summary = "This classifier has no exact explanation map."
    default_hint = "Heat maps are exact for open-nsfw only; use --classifier open-nsfw."
    http_status = 501


class BackendError(InputError):
    """A backend or precision that this machine or this network cannot give."""

    code = "backend.unavailable"
    summary = "The backend or precision that was asked for cannot run this network here."
    default_hint = "safelight doctor lists what this machine can run; auto lets a probe choose."
    http_status = 501


class ExportParityError(SafelightError):
    """An exported network that answers differently."""

    code = "export.parity"
    summary = "The exported network does not give the same answers, so it was not kept."
    default_hint = "Report this with the output of safelight doctor --json."


class ResumeMismatchError(InputError):
    """A report that another classifier or policy began."""

    code = "scan.resume_mismatch"
    summary = "The unfinished report was begun with another classifier or policy."
    default_hint = "Use the same options as before, or start over with --overwrite."
    http_status = 409


class ScanBusyError(InputError):
    """Two scans into one report."""

    code = "scan.busy"
    summary = "Another scan is writing this report."
    default_hint = "Wait until it ends, or give another name."
    http_status = 409


class JobError(InputError):
    """A job cannot be queued, found or changed."""

    code = "job"
    summary = "The job cannot be used like this."


class JobMissingError(JobError):
    """No such job, or somebody else's."""

    code = "job.missing"
    summary = "There is no such job."
    default_hint = "Jobs are forgotten some days after they end; GET /v1/jobs lists yours."
    http_status = 404


class JobOverError(JobError):
    """A job that has ended cannot be stopped."""

    code = "job.over"
    summary = "The job has ended already."
    default_hint = "Its result stays until the job expires."
    http_status = 409


class JobSkipError(JobError):
    """A job without pictures that could be skipped."""

    code = "job.skip"
    summary = "Only drawings have pictures that can be skipped."
    default_hint = "Cancel the job instead."
    http_status = 409


class JobUnfinishedError(JobError):
    """A result that is not there yet."""

    code = "job.unfinished"
    summary = "The job has not ended yet."
    default_hint = "Wait for its last event, or ask again later."
    http_status = 409


class NoResultError(JobError):
    """A job that ended without the result, or the picture, that was asked for."""

    code = "job.no_result"
    summary = "The job has no such result."
    default_hint = "GET /v1/jobs/{id} says how it ended, and its result which pictures there are."
    http_status = 404


class PreviewMissingError(JobError):
    """A preview that is not there."""

    code = "job.no_preview"
    summary = "The job has no preview at this moment."
    default_hint = "There are previews only while a picture is drawn; an event of kind preview tells of each."
    http_status = 404


class PriorityError(JobError):
    """A priority that only administrators may give."""

    code = "job.priority"
    summary = "Only administrators may put a job before those of others."
    default_hint = "Leave the priority out, or give one of -100 to 0."
    http_status = 403


class IdempotencyError(JobError):
    """An idempotency key for two different requests."""

    code = "job.idempotency"
    summary = "The idempotency key was used for another request."
    default_hint = "Use a new key for a new request."
    http_status = 409


class QueueFullError(SafelightError):
    """Too many jobs wait."""

    code = "queue.full"
    summary = "Too many jobs wait already."
    default_hint = "Try again when some are done; the setting queue_capacity says how many may wait."
    http_status = 503


class JobSizeError(JobError):
    """A job that is more work than one may be."""

    code = "job.size"
    summary = "The job is more work than one job may be."
    default_hint = (
        "Ask for fewer pictures, fewer steps or smaller pictures; an administrator can raise max_job_work."
    )
    http_status = 422


class JobTimeoutError(SafelightError):
    """A job that ran longer than it may."""

    code = "job.timeout"
    summary = "The job ran longer than it may."
    default_hint = "Give it more time, or less to do."
    http_status = 504


class WorkerLostError(SafelightError):
    """A job whose workers died, again and again."""

    code = "worker.lost"
    summary = "The worker that did the job was lost, more than once."
    default_hint = "It may need more memory than there is: try a smaller size or a smaller checkpoint."
    http_status = 500


class WorkerNameError(InputError):
    """A worker's name that another one has."""

    code = "worker.name"
    summary = "Another worker goes by this name, and jobs go back to workers by their names."
    default_hint = "End the other one, or choose another name with --name."
    http_status = 409


class WorkerMissingError(SafelightError):
    """Nobody who could do it."""

    code = "worker.missing"
    summary = "There is no worker that could do this."
    default_hint = "safelight serve starts workers; GET /v1/system lists those that live."
    http_status = 503


class PortTakenError(InputError):
    """An address that cannot be listened on."""

    code = "server.port"
    summary = "The server cannot listen on this address."
    default_hint = "Another program may use the port: choose another with --port."


class HomeInUseError(InputError):
    """A data directory that another server uses."""

    code = "server.running"
    summary = "Another server uses this data directory."
    default_hint = "End the other one, or give this one a data directory of its own with SAFELIGHT_HOME."
    http_status = 409


class HomeError(InputError):
    """A data directory that cannot be used."""

    code = "server.home"
    summary = "The data directory cannot be used."
    default_hint = "Choose one that can be written with SAFELIGHT_HOME."


class ServerStartingError(SafelightError):
    """A server that has begun to listen and is not ready yet."""

    code = "server.starting"
    summary = "The server is still starting."
    default_hint = "Try again in a second; /health/ready says when it is done."
    http_status = 503


class ServerBusyError(SafelightError):
    """A server that has as much to read as it can hold."""

    code = "server.busy"
    summary = "The server is reading as much as it can hold."
    default_hint = "Try again after the seconds that the header Retry-After says."
    http_status = 503


class ConnectionLimitError(SafelightError):
    """A request on one connection more than its address, or all together, may have."""

    code = "server.connections"
    summary = "There are too many connections with requests at once."
    default_hint = "Close some, or try again after the seconds that the header Retry-After says."
    http_status = 503


class KeysNeededError(SettingsError):
    """A server that others could reach, and no key to tell them apart."""

    code = "server.keys_needed"
    summary = "Without a key the server listens on this machine only."
    default_hint = "Make a key with: safelight keys add NAME"


class DeniedError(InputError):
    """A request that this caller may not make."""

    code = "denied"
    summary = "This request is not allowed."
    http_status = 403


class KeyRequiredError(DeniedError):
    """No key came with the request."""

    code = "denied.no_key"
    summary = "This server wants a key."
    default_hint = (
        "Send it as Authorization: Bearer KEY, as X-API-Key: KEY, or as the password of HTTP Basic "
        "with the key's name as the user; safelight keys add NAME makes one."
    )
    http_status = 401


class KeyInvalidError(DeniedError):
    """A key that is not, or no longer, valid."""

    code = "denied.key"
    summary = "The key is wrong or has been revoked."
    default_hint = "safelight keys list shows the keys by name; with HTTP Basic the user is the key's name."
    http_status = 401


class RoleError(DeniedError):
    """Something that only administrators may do."""

    code = "denied.role"
    summary = "Only administrators may do this."
    default_hint = "Use a key made with: safelight keys add NAME --role admin"


class HostRefusedError(DeniedError):
    """A request for a host name that is not this server's."""

    code = "denied.host"
    summary = "The server does not answer under this host name."
    default_hint = "Add the name to the setting allowed_hosts if it is this server's."


class OriginRefusedError(DeniedError):
    """A request that another web site's page made."""

    code = "denied.origin"
    summary = "Pages of other web sites may not use this server."
    default_hint = "Add the page's origin to the setting cors_origins if it is to use this server."


class LimitedError(SafelightError):
    """More than this caller may ask for.

    Args:
        message: Which limit it was.
        hint: What would be right.
        retry_after: Seconds after which the same request would be within the limit; None if it never would.
    """

    code = "limit"
    summary = "This is more than you may ask for at this moment."
    default_hint = "Try again after the seconds that the header Retry-After says."
    http_status = 429

    def __init__(
        self, message: str | None = None, *, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class RateLimitError(LimitedError):
    """Too much within a minute."""

    code = "limit.rate"
    summary = "Too much was asked for within a minute."


class QuotaError(LimitedError):
    """Too much within a day."""

    code = "limit.quota"
    summary = "The key's quota for today is used up."
    default_hint = "It begins anew at midnight UTC; an administrator can give the key a larger one."


class QueueShareError(LimitedError):
    """More jobs of one owner than may wait."""

    code = "limit.queue"
    summary = "Too many of your jobs wait already."
    default_hint = "Submit more when some of them are done, or cancel some."


class QueueBytesError(LimitedError):
    """More bytes of pictures than may wait with one owner's jobs."""

    code = "limit.queue_bytes"
    summary = "The pictures of your waiting jobs take too much room."
    default_hint = "Submit more when some of the jobs are done, cancel some, or send smaller files."


class KeyNameError(InputError):
    """A key's name that cannot be given, or names no key."""

    code = "key.name"
    summary = "The key's name cannot be used."
    default_hint = "safelight keys list shows the keys by name."


class RouteMissingError(InputError):
    """A path that the server does not know."""

    code = "request.path"
    summary = "There is nothing under this path."
    default_hint = "/docs lists every path."
    http_status = 404


class MethodRefusedError(InputError):
    """A method that a path does not take."""

    code = "request.method"
    summary = "The path does not take this method."
    default_hint = "The header Allow says which it takes."
    http_status = 405


class BodyInvalidError(InputError):
    """A request that does not have the shape its path wants."""

    code = "request.invalid"
    summary = "The request does not have the right shape."
    default_hint = "/docs shows the shape of every request."
    http_status = 422


class BodyTooLargeError(InputError):
    """A request's body above the limit."""

    code = "request.too_large"
    summary = "The request is larger than the limit allows."
    default_hint = "Send less at once, or raise the setting max_request_bytes."
    http_status = 413


class BodySlowError(InputError):
    """A request's body that does not arrive."""

    code = "request.slow"
    summary = "The request's body took too long to arrive."
    default_hint = "Send it again over a faster connection, or raise the setting body_patience."
    http_status = 408


class PictureTextError(InputError):
    """Text that should be a picture and is none."""

    code = "request.picture"
    summary = "The text is no picture."
    default_hint = "Give the file's bytes in base64, as they are or as a data URI."
    http_status = 422


class PictureUrlError(InputError):
    """An address that no picture is fetched from."""

    code = "request.picture_url"
    summary = "No picture is fetched from this address."
    default_hint = "Send the picture itself, in base64; docs/server.md says which addresses are fetched from."
    http_status = 422


class DatabaseError(SafelightError):
    """What Safelight keeps cannot be read or written."""

    code = "database"
    summary = "The database cannot be used."
    http_status = 503


class DatabaseUrlError(SettingsError):
    """A setting that names no usable database."""

    code = "database.url"
    summary = "The setting database is no URL of a database."
    default_hint = (
        "Leave it empty, or give sqlite:////path/to/file.db or postgresql://user:password@host:port/name."
    )


class DatabaseOpenError(DatabaseError):
    """A database that cannot be reached or opened."""

    code = "database.open"
    summary = "The database cannot be opened."
    default_hint = "Check that the file can be written or that the server runs, and the setting database."


class DatabaseBusyError(DatabaseError):
    """A lock that was held too long by others."""

    code = "database.busy"
    summary = "The database was locked by others for too long."
    default_hint = "Try again; if it stays so, another program may hold it open."


class DatabaseDamagedError(DatabaseError):
    """A database whose content makes no sense."""

    code = "database.damaged"
    summary = "The database is damaged, or is none."
    default_hint = "Put a backup in its place, or move it away: Safelight then begins with an empty one."


class DatabaseVersionError(DatabaseError):
    """A database of a newer version."""

    code = "database.version"
    summary = "The database was made by a newer Safelight."
    default_hint = "Update Safelight, or use another database or data directory."
    http_status = 500


class StoredObjectError(DatabaseError):
    """A stored value that is refused for what it could do."""

    code = "database.pickle"
    summary = (
        "A row of the queue's tables holds a pickled Python object, which could run code; it is not read."
    )
    default_hint = (
        "Safelight never writes such rows: find out who can write to the database, and delete them."
    )
    http_status = 500


class StorageFullError(DatabaseError):
    """No space left."""

    code = "storage.full"
    summary = "The disk is full: nothing more can be kept."
    default_hint = "Make space; what was kept before is whole."
    http_status = 507


class BlobMissingError(InputError):
    """Bytes that something refers to and that are gone."""

    code = "blob.missing"
    summary = "A picture that was sent along is not kept any more."
    default_hint = "Send it again."
    http_status = 404


class GalleryError(InputError):
    """Something the gallery cannot do."""

    code = "gallery"
    summary = "The gallery cannot do that."
    default_hint = "docs/gallery.md lists every filter with its range."
    http_status = 422


class EntryMissingError(GalleryError):
    """No such entry, or somebody else's."""

    code = "gallery.missing"
    summary = "There is no such entry in the gallery."
    default_hint = "It may have been deleted or have expired."
    http_status = 404


class EntryFileMissingError(GalleryError):
    """An entry whose file is gone."""

    code = "gallery.file_missing"
    summary = "The entry's file is not in the gallery's folder any more."
    default_hint = "It was removed by something else than Safelight; its record is still there."
    http_status = 410


class MediaTypeError(InputError):
    """A body of a type that cannot be read."""

    code = "request.media_type"
    summary = "The request's body is of a type that cannot be read here."
    default_hint = "Send application/json, or multipart/form-data with pictures as parts of their own."
    http_status = 415


class NotAcceptableError(InputError):
    """Only types were accepted that cannot be given."""

    code = "request.accept"
    summary = "Nothing that the request accepts can be given."
    default_hint = "Accept application/json, image/png, image/webp or image/jpeg."
    http_status = 406


class ModelMissingError(ModelError):
    """A model that is not there."""

    code = "model.missing"
    summary = "There is no model of that name on this server."
    default_hint = "GET /v1/models lists them."
    http_status = 404


class ServerError(SafelightError):
    """A server that cannot be reached, or answers what cannot be understood."""

    code = "client.server"
    summary = "The server cannot be reached, or what it answers is not Safelight's."
    default_hint = "Check its address, and that safelight serve runs there."
    http_status = 502


class PeerMissingError(InputError):
    """The other side of a comparison is not installed."""

    code = "bench.peer_missing"
    summary = "The peer to compare with is not known or not installed."


class InternalError(SafelightError):
    """A defect of Safelight."""

    code = "internal"
    summary = "Safelight failed in a way it does not understand: a defect."
    default_hint = (
        "Run again with SAFELIGHT_DEBUG=1 for the traceback, and report it with safelight doctor --json."
    )


def catalogue() -> list[type[SafelightError]]:
    """All error classes, parents before children, in the order they are written in this file."""

    def walk(parent: type[SafelightError]) -> list[type[SafelightError]]:
        return [parent, *(found for child in parent.__subclasses__() for found in walk(child))]

    return walk(SafelightError)


def error_of(code: str, message: str, hint: str = "") -> SafelightError:
    """The error that another process met, from what it said of it; one of an unknown code is one of the root class."""
    kind = next((error for error in catalogue() if error.code == code), SafelightError)
    return kind(message, hint=hint)
