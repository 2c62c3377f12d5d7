package journal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"fmt"
)

// Where the journal is encrypted the spool is too: each line is {"sealed": "..."}, with the nonce and the record, sealed with AES-256-GCM, in base64.

// sealedLine is such a line.
type sealedLine struct {
	Sealed []byte `json:"sealed"`
}

func spoolCipher(key [32]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealLines seals each line, where there is a key.
func (j *Journal) sealLines(lines []byte) ([]byte, error) {
	if len(j.spoolKeys) == 0 {
		return lines, nil
	}
	aead, err := spoolCipher(j.spoolKeys[0])
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for line := range bytes.Lines(lines) {
		if err := enc.Encode(sealedLine{aead.Seal(nil, nil, line, nil)}); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// openLine returns what a line of the spool was before it was sealed, if it was.
func (j *Journal) openLine(line []byte) ([]byte, error) {
	var s sealedLine
	if err := json.Unmarshal(line, &s); err != nil || s.Sealed == nil {
		return line, nil
	}
	for _, key := range j.spoolKeys {
		aead, err := spoolCipher(key)
		if err != nil {
			return nil, err
		}
		if plain, err := aead.Open(nil, nil, s.Sealed, nil); err == nil {
			return plain, nil
		}
	}
	return nil, fmt.Errorf("a sealed line does not open: %w", errEncoding)
}
