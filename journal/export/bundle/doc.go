// Package bundle makes and checks evidence bundles: a ZIP with one message of an archive, or with a practice of certified mail, and all that shows what it
// is: digests, signatures with their certificates, receipts, what the logs tell, a sheet for people, and the commands by which anybody can check it
// without this program.
//
// # Layout
//
// Names are ASCII. FOLDER is "message" for the one message of a bundle; in a bundle of a practice "sent" is the message that was sent, where the archive
// has it, and "receipts/01-accettazione" and so on are its receipts in the order of their arrival.
//
//	bundle.json                   what the bundle is: see Manifest
//	FOLDER/message.eml            the exact bytes that were journaled
//	FOLDER/envelope.json          with what they came: see Envelope
//	FOLDER/digests.json           SHA-256 and SHA-512 of the message, SHA-256 of the content of each of its parts: see Digests
//	FOLDER/daticert.xml           copies of two parts of certified mail, their transfer encoding undone
//	FOLDER/postacert.eml
//	FOLDER/signature.json         what the archive found of the signature when the message arrived: see Report
//	FOLDER/signature/smime.p7s    the signature, in DER or BER as it came
//	FOLDER/signature/chain.pem    its certificates, the signer's first
//	FOLDER/signature/anchor.pem   the trusted one at the end of them; only of a signature that was proven
//	FOLDER/evidence/proof.json         the proof that the message was in the archive when a checkpoint was made: an evidence.Proof; these are absent where
//	                                   there is none: bundle.json says why
//	FOLDER/evidence/checkpoint.txt     the signed note of that checkpoint; where it has no time stamp, of the first after it that has one: a note
//	                                   holds all checkpoints up to its own
//	FOLDER/evidence/checkpoint.tsr     its time stamp (RFC 3161), DER; absent where there is none
//	FOLDER/evidence/tsa.pem            the root certificates of the authority that made it; absent where the archive knows none
//	FOLDER/evidence/verifier-keys.txt  the verifier keys of the archive, one a line; absent where they could not be read
//	practice.json                 of a practice: what its receipts say of each recipient, as "copialettere practice -json" has it
//	practice.csv                  the same as a table
//	log/changes.csv               what the log of the mailbox tells that concerns these messages; absent where whoever asked may not see that
//	log/access.csv                who was let in to the mailbox since the first of them arrived, without the addresses of clients
//	scheda.html                   the sheet for people, in Italian, to be read or printed
//	VERIFY.txt                    how to check all this: the exact commands
//	INCOMPLETE.txt                only where a receipt, a proof or a part of a log could not be read: which
//	SHA256SUMS                    the SHA-256 of all other files, as "sha256sum -c" reads it
//
// Tables are as in package export. A bundle is written as it is sent and cannot be resumed; whoever asks for it twice gets the same files but for the time.
//
// # Checking
//
// Verify needs no archive: it reads a bundle as a ZIP or unpacked, and believes nothing in it. It makes every digest, part and copy anew, verifies each
// signature again, and works out anew what the receipts say. Envelope and report are compared with the entry in the log, the tables with practice.json, the
// texts for people with all that. Only SHA256SUMS holds what the logs in log/ tell; their form and their times are checked. With VerifyOptions.Strict a proof, its
// checkpoint or its time stamp must not be left out. Memory is bounded whatever the bundle: see the limits of Verify.
package bundle
