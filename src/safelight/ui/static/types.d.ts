// Schemas of our API, limited to the fields that the page uses; /openapi.json has all of them.

export type Decision = "allow" | "review" | "block";

export interface ErrorBody {
  code: string;
  message: string;
  hint?: string | null;
  /** Path of the request's field that is wrong, with dots. */
  field?: string | null;
  /** Values for a message of one's own. */
  context?: Record<string, any> | null;
  /** Every field that is wrong, where several are. */
  problems?: FieldProblem[] | null;
}

export interface FieldProblem {
  field: string;
  code: string;
  message: string;
  context?: Record<string, any> | null;
}

export interface JobProgress {
  stage: string;
  step: number;
  steps: number;
  picture: number;
  pictures: number;
  fraction: number;
}

export interface OutputPicture {
  id: string;
  index: number;
  seed: number | null;
  width: number;
  height: number;
  decision: Decision;
  unsafe: number | null;
  scores: Record<string, number>;
  infotext: string | null;
  url: string | null;
  parent_id: string | null;
  relation: Relation | null;
}

/** How a picture was made from its parent. */
export type Relation = "upscale" | "edit" | "variation" | "again";

export interface Job {
  id: string;
  owner: string;
  kind: "generate" | "upscale" | "preprocess" | "scan";
  state: "queued" | "running" | "succeeded" | "failed" | "cancelled";
  request: Record<string, any>;
  /** The gallery entry that its pictures are made from. */
  parent: string | null;
  priority: number;
  position: number | null;
  eta: number | null;
  progress: JobProgress | null;
  created: string;
  started: string | null;
  ended: string | null;
  attempt: number;
  result: { pictures?: OutputPicture[]; verdicts?: Verdict[] } | null;
  error: ErrorBody | null;
}

export interface GalleryEntry {
  id: string;
  job_id: string | null;
  index: number;
  owner: string | null;
  created: string;
  width: number;
  height: number;
  decision: Decision;
  unsafe: number | null;
  scores: Record<string, number>;
  policy: string | null;
  prompt: string;
  negative_prompt: string;
  mode: string | null;
  seed: number | null;
  steps: number | null;
  sampler: string | null;
  checkpoint: string | null;
  checkpoint_digest: string | null;
  family: string | null;
  infotext: string | null;
  kind: "png" | "jpeg" | "webp" | null;
  size: number;
  sha256: string | null;
  missing: boolean;
  favourite: boolean;
  tags: string[];
  /** Ids of the collections that it is in. */
  collections: string[];
  parent_id: string | null;
  relation: Relation | null;
  record?: Record<string, any> | null;
}

export interface Collection {
  id: string;
  owner: string;
  name: string;
  pictures: number;
}

export interface Verdict {
  index: number;
  decision: Decision | "error";
  scores: Record<string, number>;
  unsafe: number | null;
  classifier: { name: string; digest: string; arithmetic: string } | null;
  policy: { name: string; version: string; digest: string } | null;
  frame?: number | null;
  tile?: number | null;
  notes: string[];
  error: ErrorBody | null;
}

export interface Policy {
  name: string;
  version: string;
  description: string;
  abstain: number;
  unsafe: Record<string, { review: number; block: number }>;
  safe: string[];
  default: boolean;
}

export interface Model {
  id: string;
  kind: "checkpoint" | "classifier" | "upscaler";
  default: boolean;
  family: string | null;
  modes: string[];
  size: number | null;
  precision: string | null;
  digest: string | null;
  loaded_by: string[];
  /** A checkpoint's default values for generation. */
  draws: GenerationDefaults | null;
  /** Of a checkpoint: the pictures that it looks at; null: none. */
  references?: ReferenceLimits | null;
}

/** How a checkpoint looks at reference pictures; maximum: null for as many as the memory holds. */
export interface ReferenceLimits {
  required: boolean;
  maximum: number | null;
  modes: string[];
}

/** A LoRA or another adapter, or a textual inversion. */
export interface Adapter {
  id: string;
  name: string;
  place: string;
  alias: string;
  kind: "LoRA" | "embedding";
  family: string | null;
  /** Whether it is for the checkpoint that was asked about; null where its file does not say. */
  fits: boolean | null;
  types: string[];
  rank: number | null;
  trigger_words: string[];
  size: number;
  modified: string;
  digest: string | null;
  preview: string | null;
  preview_set: boolean;
  favourite: boolean;
  pictures: number;
}

export interface AdapterDetails extends Adapter {
  file: string;
  hash: string | null;
  key_style: string;
  components: string[];
  layers: number;
  training_tags: { tag: string; count: number }[];
  metadata: Record<string, any>;
}

export interface GenerationDefaults {
  kind: "diffusion" | "flow";
  width: number;
  height: number;
  size_multiple: number;
  steps: number;
  guidance_scale: number;
  sampler: string;
  schedule: string | null;
  negative: boolean;
  /** Fields of a request that the checkpoint does not take. */
  not_taken: string[];
}

/** A user's preferences; null: as the page decides. */
export interface Preferences {
  language: string | null;
  look: "light" | "dark" | null;
  tile_size: number | null;
  notify_when_done: boolean | null;
  default_checkpoint: string | null;
  /** The languages that the server offers. */
  languages: string[];
}

export interface Setting {
  name: string;
  group: "generation" | "moderation" | "limits" | "retention" | "page" | null;
  description: string;
  value: any;
  configured: any;
  default: any;
  source: "default" | "file" | "runtime" | "environment" | "flag";
  stored: string | null;
  changeable: boolean;
  /** A JSON Schema. */
  rules: Record<string, any>;
  choices: string[] | null;
}

export interface Session {
  owner: string;
  role: "user" | "admin";
  keys: boolean;
  cookie: boolean;
}

/** Fields of a GenerationRequest. */
export type Fields = Partial<import("./request").GenerateJob>;

export interface RecallResult {
  source: "safelight" | "a1111" | "sdnext" | "comfyui" | "none";
  fields: Fields;
  infotext: string | null;
  unfilled: { name: string; value: string; reason: string }[];
}

/** Shared by all parts of the page. */
export interface PageContext {
  me: Session;
  jobStore: import("./core/job_store.js").JobStore;
  actions: import("./actions.js").Actions;
  /** Show another tab: create, gallery, moderate, models, system, settings. */
  show(tab: string): void;
}
