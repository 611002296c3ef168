/**
 * Faces of a facestreamer server in any web page: `connect` brings its records and goes on when the connection breaks,
 * `drawFaces` draws them on a canvas.
 */

/** The emotions in the order of the face object, each with its colour. */
export const EMOTIONS: Readonly<Record<keyof Emotions, string>>;

export interface Connection {
  /** `waiting`: a new attempt is planned at `retryAt`. */
  state: "connecting" | "open" | "waiting" | "closed";
  /** The address of this attempt, without its query. */
  url: string | null;
  /** Time of the next attempt, in `Date.now()` milliseconds. */
  retryAt: number | null;
  /** Failed attempts since the last connection that held. */
  attempt: number;
  /** Why the last connection ended, and its code where the server gave one (1008: it refused). */
  reason: string | null;
  code: number | null;
}

/** Milliseconds. */
export interface Pace {
  /** First pause before a new attempt, doubled for each failure up to `maxDelay`. */
  minDelay?: number;
  maxDelay?: number;
  /** A connection that is not open by then counts as failed. */
  openTimeout?: number;
  /** A connection that held this long starts the back-off anew. */
  steadyAfter?: number;
}

/** What is not named is as by default: everything. */
export interface Subscription {
  streams?: string[];
  /** At most so many frame records a second of each stream. */
  maxFps?: number;
  /** Top-level keys to keep beside type, schema, stream, session, seq and status; `faces.age` keeps a key of the faces. */
  fields?: string[];
  /** Only frames with faces; status and track records always come. */
  facesOnly?: boolean;
  /** Faces carry what their frame alone says, too. */
  raw?: boolean;
}

export interface ConnectOptions extends Subscription, Pace {
  token?: string | (() => string | Promise<string>);
  /** Reconnect when a live stream sent nothing for so many milliseconds. */
  silence?: number;
  /** First on every connection: which streams there are. */
  onHello?(record: HelloRecord): void;
  onStatus?(record: StatusRecord): void;
  /** One frame, processed or skipped; after a break it goes on behind the last one. With `fields`, keys are missing. */
  onFrame?(record: FrameRecord): void;
  /** A track has ended: who it was, and for how long. */
  onTrack?(record: TrackRecord): void;
  /** Records of the break that the server no longer has. */
  onMissed?(record: MissedRecord): void;
  onConnection?(connection: Connection): void;
}

export interface Client {
  readonly connection: Connection;
  /** Do not wait for the next attempt. */
  retry(): void;
  subscribe(wanted: Subscription): void;
  close(): void;
}

/** The records of the server whose websocket is at `url` (or what a function says before each attempt). */
export function connect(url: string | (() => string | Promise<string>), options?: ConnectOptions): Client;

export interface DrawOptions {
  /** Drawn below the faces: the picture that they are of. Without it the canvas stays clear, to lie on a video. */
  picture?: CanvasImageSource | null;
  /** What is written at a face; false for nothing. */
  labels?: boolean | ((face: FaceObject) => string);
  landmarks?: boolean;
}

/**
 * Draw faces, as large as fits, in the middle of the canvas (as `object-fit: contain` does). The record of a frame that
 * was not analysed changes nothing.
 */
export function drawFaces(
  canvas: HTMLCanvasElement | OffscreenCanvas,
  record: Partial<Pick<FrameRecord, "faces" | "image" | "status">>,
  options?: DrawOptions,
): void;

/** Set the pixels of a canvas to what the screen shows of it; true if that changed them. */
export function fitCanvas(canvas: HTMLCanvasElement | OffscreenCanvas): boolean;

/** One colour per track, as long as it lives. */
export function trackColor(trackId: number | undefined): string;

/** Why a value was not judged, in words; null where it was. */
export function notAssessed(face: FaceObject, value: "age" | "gender" | "emotion"): string | null;

/** "woman 34", as far as it was judged. */
export function person(face: FaceObject): string;

/** The strongest emotion and its share, or null where it was not judged. */
export function topEmotion(face: FaceObject): [keyof Emotions, number] | null;

/** "92 %" of a share 0-1. */
export function percent(share: number): string;

export interface Socket {
  readonly connection: Connection;
  /** False if there is no open connection. */
  send(data: string | ArrayBuffer | Blob): boolean;
  retry(): void;
  restart(reason: string): void;
  close(): void;
}

/** A websocket that opens again by itself, with exponential back-off and jitter. */
export function openSocket(
  url: string | (() => string | Promise<string>),
  handlers: {
    onOpen?(): void;
    onMessage?(data: string | ArrayBuffer | Blob): void;
    onConnection?(connection: Connection): void;
  },
  options?: Pace & { binaryType?: BinaryType },
): Socket;

// ---- records: made from the JSON Schema by tests/declarations.py

export type StreamRecord = FrameRecord | StatusRecord | TrackRecord | HelloRecord | MissedRecord;

/** The face in that frame in which its quality was best. */
export interface BestSighting {
  seq: number;
  captured: string;
  face: FaceObject;
}

/** Pixels of the source picture as displayed; x, y is the top left corner. */
export interface BoundingBox {
  x: number;
  y: number;
  w: number;
  h: number;
}

/** Shares 0-1 that sum to 1. */
export interface Emotions {
  angry: number;
  disgust: number;
  fear: number;
  happy: number;
  sad: number;
  surprise: number;
  neutral: number;
}

/** The answer to every request that failed. */
export interface ErrorAnswer {
  error: ErrorObject;
  faces: FaceObject[];
}

/** `code` is for programs, `message` says what happened, `hint` what to do. */
export interface ErrorObject {
  code: string;
  message: string;
  hint: string;
}

/** One face, the same wherever it appears. */
export interface FaceObject {
  faceConfidence: number;
  boundingBox: BoundingBox;
  age: number;
  gender: Gender;
  emotions: Emotions;
  landmarks: Landmark[];
  trackId?: number;
  quality?: number;
  headPose?: HeadPoseDegrees;
  notAssessed?: NotAssessed[];
  heldMs?: Held;
  raw?: RawValues;
}

/** What came of one frame; every frame that a source delivered has one, in order of `seq` without holes. `skipped` is only on the websocket: how many records before it a slow client did not get. */
export interface FrameRecord {
  type: "frame";
  schema: 1;
  stream: string;
  session: string;
  seq: number;
  frame: number;
  status: "processed" | "skipped";
  time: FrameTime;
  image: ImageSize;
  faces: FaceObject[];
  timings: Record<string, number>;
  dropped: number;
  reason?: string;
  skipped?: number;
}

/** `captured` is RFC 3339 UTC; `ageMs` is from capture (a file: from decoding) to publishing. `jumpMs` is there where the clock was set since the frame before: by how much. */
export interface FrameTime {
  captured: string;
  clock: "camera" | "file" | "host";
  ageMs: number;
  pts?: number;
  jumpMs?: number;
}

/** `confidence` is 0-100. */
export interface Gender {
  value: "Female" | "Male";
  confidence: number;
}

/** Yaw > 0: turned to the right side of the picture; pitch > 0: up; roll > 0: clockwise. */
export interface HeadPoseDegrees {
  yaw: number;
  pitch: number;
  roll: number;
}

/** How many milliseconds ago values were seen that are not from this picture: `place` box, landmarks and pose; `looks` age, gender, emotions and quality. */
export interface Held {
  place?: number;
  looks?: number;
}

/** The first message on a websocket. */
export interface HelloRecord {
  type: "hello";
  schema: 1;
  server: string;
  session: string;
  streams: string[];
  states?: Record<string, "connecting" | "ended" | "live" | "offline" | "stalled">;
}

/** The answer of `POST /analyze`; `timings` in milliseconds. */
export interface ImageAnswer {
  faces: FaceObject[];
  image: ImageSize;
  timings: Record<string, number>;
}

export interface ImageSize {
  width: number;
  height: number;
}

/** Left and right are sides of the picture. */
export interface Landmark {
  type: "eyeLeft" | "eyeRight" | "lipLeft" | "lipRight" | "nose";
  x: number;
  y: number;
}

/** To a websocket client that resumes: the records from one number of `seq` to another can no longer be had. */
export interface MissedRecord {
  type: "missed";
  schema: 1;
  stream: string;
  session: string;
  from: number;
  to: number;
}

/** A frame, by its number and when it was captured (RFC 3339 UTC). */
export interface Moment {
  seq: number;
  captured: string;
}

/** A value that is given but is only a guess, and why; `switchedOff`: a constant, since nobody wants it judged. */
export interface NotAssessed {
  value: string;
  reason: string;
}

/** What this frame alone says, before smoothing. */
export interface RawValues {
  boundingBox: BoundingBox;
  age: number;
  gender: Gender;
  emotions: Emotions;
  landmarks: Landmark[];
}

/** A stream changed its state; `at` is RFC 3339 UTC. */
export interface StatusRecord {
  type: "status";
  schema: 1;
  stream: string;
  session: string;
  at: string;
  state: "connecting" | "ended" | "live" | "offline" | "stalled";
  error?: ErrorObject;
}

/** A track has ended: everything that is worth knowing of it, so that no frames need be added up. `seconds` from `first` to `last` sighting, seen in so many `frames`; age and gender as they were at last, `emotions` as shares of the time; `notAssessed` what was never more than a guess. */
export interface TrackRecord {
  type: "track";
  schema: 1;
  stream: string;
  session: string;
  trackId: number;
  first: Moment;
  last: Moment;
  seconds: number;
  frames: number;
  best: BestSighting;
  age: number;
  gender: Gender;
  emotions: Emotions;
  notAssessed?: NotAssessed[];
}
