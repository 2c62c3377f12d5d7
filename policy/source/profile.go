package source

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"copialettere/journal/kv"
)

// Bounds of profiles.
const (
	MaxProfiles    = 20        // of one archive
	MaxName        = 64        // characters of a name
	MaxFolders     = 200       // named in one profile
	MaxCA          = 64 << 10  // bytes of certificates
	MaxPassword    = 1024      // bytes
	MinEvery       = time.Hour // between two runs
	MaxEvery       = 366 * 24 * time.Hour
	MaxDeleteAfter = 3650 // days
)

// Errors of profiles.
var (
	// ErrProfile says that a profile cannot be so. The error that wraps it says why.
	ErrProfile = errors.New("no such profile is possible")
	// ErrTaken says that another profile has the name. What wraps it wraps ErrProfile too.
	ErrTaken = errors.New("the name is taken by another account")
	// ErrNoProfile says that there is no profile of that name.
	ErrNoProfile = errors.New("there is no profile of that name")
)

// Profile says how mail of an account elsewhere is imported again and again. Its JSON names are stored.
type Profile struct {
	Name        string        `json:"name"`
	Account     string        `json:"account"`                // such as imaps://USER@HOST
	Folders     []string      `json:"folders,omitempty"`      // only these, as people see them; empty for all
	DeleteAfter *int          `json:"delete_after,omitempty"` // days after which what was imported is deleted there; 0: at once; nil: never
	Every       time.Duration `json:"every,omitempty"`        // from the start of a run to the next; 0: only by hand
	CA          string        `json:"ca,omitempty"`           // PEM: certificates of authorities that are believed for it, instead of the system's
	Private     bool          `json:"private,omitempty"`      // its server may have an address that is none of the Internet
	Role        string        `json:"role"`                   // of who made it
	Who         string        `json:"who"`
	Made        time.Time     `json:"made"` // UTC
	Last        *Run          `json:"last,omitempty"`
	Failures    int           `json:"failures,omitempty"` // runs in a row that did not go through
	Failing     time.Time     `json:"failing,omitzero"`   // when the first of these ended; stays after a run that went through until that was told
	Told        bool          `json:"told,omitempty"`     // the owner was told that it fails, and not yet that it works again
}

// Run tells of the last run of a profile. Its JSON names are stored.
type Run struct {
	Start      time.Time `json:"start"`
	End        time.Time `json:"end"`
	Imported   int       `json:"imported"`
	Duplicates int       `json:"duplicates,omitempty"`
	Refused    int       `json:"refused,omitempty"` // messages and folders that were not taken
	Deleted    int       `json:"deleted,omitempty"` // at the source
	Bytes      int64     `json:"bytes,omitempty"`   // of what was imported
	Error      string    `json:"error,omitempty"`   // why it ended early; empty where it went through
	Cause      string    `json:"cause,omitempty"`   // the kind of Error, a notice.PullCause; empty in runs of versions before it
	Notes      []string  `json:"notes,omitempty"`   // the first things that were not taken, in words
	Left       []Left    `json:"left,omitempty"`    // the same things; empty in runs of versions before it
}

// Left is a message or a folder that was not taken, or not deleted at the source. Its JSON names are stored.
type Left struct {
	Folder string `json:"folder"`        // of the source, as people see it
	UID    uint32 `json:"uid,omitempty"` // there; absent for a whole folder
	State  string `json:"state"`         // what became of it: the State of a pull.Result
}

// stored is what is stored of a profile.
type stored struct {
	Profile
	Sealed []byte `json:"sealed"`
}

func profileKey(archive, name string) []byte { return append(prefix(profiles, archive), name...) }

// about names the use of a sealed password.
func (p *stored) about(archive string) string { return archive + "\x00" + p.Name + "\x00" + p.Account }

// check returns an error that wraps ErrProfile if a profile cannot be so.
func (p *Profile) check() error {
	bad := func(format string, arguments ...any) error {
		return fmt.Errorf("%w: %s", ErrProfile, fmt.Sprintf(format, arguments...))
	}
	switch {
	case p.Name == "" || utf8.RuneCountInString(p.Name) > MaxName || p.Name != strings.TrimSpace(p.Name) || !utf8.ValidString(p.Name) ||
		strings.ContainsFunc(p.Name, func(r rune) bool { return !unicode.IsPrint(r) || r == '/' }) || p.Name == "." || p.Name == "..":
		return bad("a name has 1 to %d printable characters, without a slash", MaxName)
	case len(p.Folders) > MaxFolders:
		return bad("at most %d folders can be named; without any, all are imported", MaxFolders)
	case p.DeleteAfter != nil && (*p.DeleteAfter < 0 || *p.DeleteAfter > MaxDeleteAfter):
		return bad("messages are deleted at the source after 0 to %d days", MaxDeleteAfter)
	case p.Every != 0 && (p.Every < MinEvery || p.Every > MaxEvery):
		return bad("it runs at most every hour, and at least once a year: every=1h to 366d")
	case len(p.CA) > MaxCA:
		return bad("the certificates have more than %d bytes", MaxCA)
	}
	return nil
}

// Sealed is a profile with its password, which nobody can read.
type Sealed struct{ stored }

// Seal seals the password of a new profile. The error wraps ErrProfile or ErrKey.
func (s *Store) Seal(archive string, p Profile, password string) (Sealed, error) {
	if err := p.check(); err != nil {
		return Sealed{}, err
	}
	if password == "" || len(password) > MaxPassword {
		return Sealed{}, fmt.Errorf("%w: a password has 1 to %d bytes", ErrProfile, MaxPassword)
	}
	s.sealing.Lock()
	defer s.sealing.Unlock()
	one := Sealed{stored{Profile: p}}
	var err error
	one.stored.Sealed, err = s.sealer.seal(password, one.about(archive))
	return one, err
}

// Add keeps a profile, in an Update that holds policy.SettingsLock of the archive. One of the same name and account is replaced, and returned: what is known
// of the account stays, as do certificates of authorities where p has none, and where it may connect to. One of the same name and another account stays, and
// the error wraps ErrTaken and ErrProfile.
func (s *Store) Add(tx kv.Tx, archive string, p Sealed) (before *Profile, err error) {
	switch was, err := decodeProfile(tx.Get(profileKey(archive, p.Name))); {
	case errors.Is(err, ErrNoProfile):
	case err != nil:
		return nil, err
	case was.Account != p.Account:
		return nil, fmt.Errorf("%w: %w: %q is that of %s: remove it first, or choose another name", ErrProfile, ErrTaken, p.Name, was.Account)
	default:
		before = &was.Profile
		if p.CA == "" {
			p.CA = was.CA
		}
		p.Private = p.Private || was.Private
		p.Failing, p.Told = was.Failing, was.Told
	}
	return before, put(tx, archive, &p.stored)
}

func put(tx kv.Tx, archive string, p *stored) error {
	value, err := json.Marshal(p)
	if err == nil {
		tx.Put(profileKey(archive, p.Name), value)
	}
	return err
}

// Remove removes a profile, in an Update as for Add. What is known of its account stays, so that another profile goes on. It returns the profile; the
// error wraps ErrNoProfile.
func (s *Store) Remove(tx kv.Tx, archive, name string) (Profile, error) {
	p, err := decodeProfile(tx.Get(profileKey(archive, name)))
	if err == nil {
		tx.Delete(profileKey(archive, name))
	}
	return p.Profile, err
}

func decodeProfile(value []byte, err error) (p stored, _ error) {
	if errors.Is(err, kv.ErrNotFound) {
		return p, ErrNoProfile
	}
	if err == nil {
		err = json.Unmarshal(value, &p)
	}
	if err != nil {
		err = fmt.Errorf("profile: %w", err)
	}
	return p, err
}

// Profile returns a profile. The error wraps ErrNoProfile.
func (s *Store) Profile(ctx context.Context, archive, name string) (Profile, error) {
	p, err := decodeProfile(s.store.Get(ctx, profileKey(archive, name)))
	return p.Profile, err
}

// Password returns a profile with its password, for a run.
func (s *Store) Password(ctx context.Context, archive, name string) (Profile, string, error) {
	p, err := decodeProfile(s.store.Get(ctx, profileKey(archive, name)))
	if err != nil {
		return p.Profile, "", err
	}
	password, err := s.sealer.unseal(p.Sealed, p.about(archive))
	return p.Profile, password, err
}

// Profiles returns the profiles of an archive, by name.
func (s *Store) Profiles(ctx context.Context, archive string) ([]Profile, error) {
	var list []Profile
	from := prefix(profiles, archive)
	for pair, err := range s.store.Scan(ctx, from, after(from)) {
		p, err := decodeProfile(pair.Value, err)
		if err != nil {
			return list, err
		}
		list = append(list, p.Profile)
	}
	return list, nil
}

// Owned is a profile with the name of the archive that it is of.
type Owned struct {
	Archive string
	Profile
}

// All yields the profiles of all archives. One that cannot be read yields an error, and it goes on with the rest.
func (s *Store) All(ctx context.Context) iter.Seq2[Owned, error] {
	return func(yield func(Owned, error) bool) {
		for pair, err := range s.store.Scan(ctx, []byte(profiles), after([]byte(profiles))) {
			archive, _, _ := bytes.Cut(pair.Key[min(len(pair.Key), len(profiles)):], []byte{0})
			p, err := decodeProfile(pair.Value, err)
			if !yield(Owned{string(archive), p.Profile}, err) {
				return
			}
		}
	}
}

// maxNotes is how many things that were not taken a profile remembers of its last run.
const maxNotes = 20

// Ran puts on record how a run of a profile went, and returns the profile. It is no error if the profile was removed meanwhile: it is then zero.
func (s *Store) Ran(ctx context.Context, archive, name string, r Run) (ran Profile, err error) {
	r.Notes = slices.Clone(r.Notes[:min(len(r.Notes), maxNotes)])
	err = s.store.Update(ctx, lock(archive), func(tx kv.Tx) error {
		ran = Profile{}
		p, err := decodeProfile(tx.Get(profileKey(archive, name)))
		if errors.Is(err, ErrNoProfile) {
			return nil
		}
		if err != nil {
			return err
		}
		p.Last = &r
		switch {
		case r.Error != "":
			if p.Failures++; p.Failing.IsZero() {
				p.Failing = r.End
			}
		case p.Told:
			p.Failures = 0
		default:
			p.Failures, p.Failing = 0, time.Time{}
		}
		ran = p.Profile
		return put(tx, archive, &p)
	})
	if err != nil {
		return Profile{}, fmt.Errorf("put the run of %q on record: %w", name, err)
	}
	return ran, nil
}

// Tell puts on record that the owner was told that a profile fails, or works again. It is no error if the profile was removed meanwhile.
func (s *Store) Tell(ctx context.Context, archive, name string, fails bool) error {
	err := s.store.Update(ctx, lock(archive), func(tx kv.Tx) error {
		p, err := decodeProfile(tx.Get(profileKey(archive, name)))
		if errors.Is(err, ErrNoProfile) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Told = fails; !fails && p.Failures == 0 {
			p.Failing = time.Time{}
		}
		return put(tx, archive, &p)
	})
	if err != nil {
		return fmt.Errorf("put on record what was told of %q: %w", name, err)
	}
	return nil
}
