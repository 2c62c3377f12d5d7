package bundle

// Proof is the proof that a message is in the log of the archive: the folder "evidence" of a message has it.
type Proof struct{}

// noProof is why a bundle has no proof of the log.
const noProof = "this version of the archive keeps no log that proves when a message was in it"
