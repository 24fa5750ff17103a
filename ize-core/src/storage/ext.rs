//! Reads by path and time, in the seeds' vocabulary, for any storage.
