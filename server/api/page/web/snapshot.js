// What /v1/status and the list of models say, in the words of the panels.
export function readSnapshot(status) {
  return new Snapshot(status);
}
class Snapshot {
  constructor(status) {
    this.models = [];
  }
  namesFor() { return []; }
  takesPictures() { return false; }
}
