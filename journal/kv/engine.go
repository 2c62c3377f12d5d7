package kv

import (
	"errors"
	"fmt"
)

// CheckKey returns an error for a key that the contract refuses. Engines call it for each key of a caller.
func CheckKey(key []byte) error {
	if len(key) == 0 || key[0] == Reserved {
		return fmt.Errorf("key %q: empty, or reserved for the engine", key)
	}
	return nil
}

// GetEach implements GetAll for engines that gain nothing from reading several keys in one go: it calls get for each key. It
// returns the first error of get that is not ErrNotFound.
func GetEach(keys [][]byte, get func(key []byte) ([]byte, error)) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, key := range keys {
		v, err := get(key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
		values[i] = v
	}
	return values, nil
}
