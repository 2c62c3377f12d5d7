package doctor

import (
	"fmt"
	"path/filepath"

	"copialettere/journal/datafolder"
)

// What a fault of a store means, for the settings and for a month.
const (
	meansNoStart   = "the daemon does not start: mail to enabled mailboxes waits at the server, and nothing is lost"
	meansNoMonth   = "nobody can read the mail of %[1]s. All else goes on; only if it is the month of now does mail to enabled mailboxes wait"
	meansPart      = "some of the mail of %[1]s cannot be read, and commands that read it report the month"
	remedyBackup   = "put its folder back from a copy, or the whole data folder from a backup: copialettere restore-backup (contrib/operating.md tells which)"
	remedyMend     = "copialettere doctor -mend"
	remedyNoBackup = "; where there is none, and the month is given up: move its folder away, then copialettere volume forget %[1]s -confirm %[1]s"
)

// inWords says what a fault of the journal's files is.
func inWords(f datafolder.Fault) Finding {
	one := Finding{Kind: string(f.Kind), Fault: true, File: f.File, Month: f.Month, Mendable: f.Mendable, Loses: f.Loses}
	one.What = what(f)
	if f.Err != nil {
		one.What += ": " + f.Err.Error()
	}
	switch f.Kind {
	case datafolder.FaultRegister:
		one.Means, one.Remedy = meansNoStart, "put "+f.File+" back from a backup"
	case datafolder.FaultAside:
		one.Fault, one.Means = false, "it is no longer used, and takes room"
		one.Remedy = "once \"copialettere verify\" says that the archive is sound: rm -r " + f.File
		if LeftByLog(one) {
			one.Remedy = "where \"copialettere verify\" finds what this log has lost, " + remedyMend + " puts that on record; " + one.Remedy
		}
		return one
	case datafolder.FaultForeign:
		one.Fault, one.Means, one.Remedy = false, "it does no harm", "move it away if you know whose it is"
		return one
	case datafolder.FaultHalf:
		one.Fault, one.Means, one.Remedy = false, "it does no harm", "none is needed: the next start ends it, or "+remedyMend
		return one
	case datafolder.FaultMark:
		one.Means = "nobody could tell if the end of the last writing were missing; mail goes on"
		one.Remedy = "the next start makes it anew, or " + remedyMend
	case datafolder.FaultLog:
		one.Means = "what was written last may be missing: with the next start that goes on record as a gap, which owners see"
		one.Remedy = "the next start keeps a copy and reads what can be read, or " + remedyMend
	case datafolder.FaultMended:
		one.Means = "the data folder does not open until what was lost is on record"
		one.Remedy = remedyMend + " goes on"
	case datafolder.FaultStranger:
		one.Means, one.Remedy = fault(f), "move "+f.File+" away, and put the right one back"
	case datafolder.FaultAbsent:
		one.Means, one.Remedy = fault(f), "mount its disk, or "+remedyBackup+forget(f)
	case datafolder.FaultUnread:
		one.Means, one.Remedy = fault(f), "see to the rights of the file, and to the disk"
	case datafolder.FaultKey:
		one.Means = fault(f) + ". It is lost only if the key is"
		one.Remedy = "name the key that it was encrypted with in [encryption], behind the others; a file KEY that is lost comes from a backup"
	default:
		one.Means = fault(f)
		if f.Loses && f.Month != "" {
			one.Means = fmt.Sprintf(meansPart, f.Month)
		}
		one.Remedy = remedy(f)
	}
	return one
}

// what says what the fault of a file is, in short.
func what(f datafolder.Fault) string {
	switch f.Kind {
	case datafolder.FaultRegister:
		return "the register, which says which months the archive has, cannot be read"
	case datafolder.FaultStranger:
		return "this is not the store of the archive that belongs here"
	case datafolder.FaultAbsent:
		return "the folder is not there, or empty, although the archive has it"
	case datafolder.FaultUnread:
		return "the system does not let it be read"
	case datafolder.FaultKey:
		return "the store is encrypted, and its key cannot be had"
	case datafolder.FaultCurrent:
		return "the file that names the manifest is missing or damaged"
	case datafolder.FaultManifest:
		return "the manifest, which says which tables count, is missing or damaged"
	case datafolder.FaultMissing:
		return "a table is missing"
	case datafolder.FaultTable:
		return "a table is damaged"
	case datafolder.FaultLog:
		return "a log of the last writes is damaged"
	case datafolder.FaultMark:
		return "the mark of the last write is missing or damaged"
	case datafolder.FaultHalf:
		return "a mending, a drop, a snapshot or a write was interrupted"
	case datafolder.FaultMended:
		return "the store was mended, and what it has lost is not on record yet"
	case datafolder.FaultAside:
		return fmt.Sprintf("%s was kept aside when something was mended", filepath.Base(f.File))
	case datafolder.FaultForeign:
		return "copialettere has not made this"
	}
	return string(f.Kind)
}

// fault says what it means that a store cannot be used.
func fault(f datafolder.Fault) string {
	if f.Month == "" {
		return meansNoStart
	}
	return fmt.Sprintf(meansNoMonth, f.Month)
}

func remedy(f datafolder.Fault) string {
	switch {
	case f.Mendable && f.Loses:
		return remedyMend + " mends it, with the loss that the disk has made, and puts that on record. Where a copy of the folder has the month as it is: " + remedyBackup
	case f.Mendable:
		return remedyMend + " mends it without loss"
	case f.Month == "":
		return remedyBackup + ". The settings are not mended with a loss: nobody could tell what was erased, or held"
	}
	return remedyBackup + forget(f)
}

func forget(f datafolder.Fault) string {
	if f.Month == "" {
		return ""
	}
	return fmt.Sprintf(remedyNoBackup, f.Month)
}
