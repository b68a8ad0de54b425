//! Values at stable numbers: a vector with a list of its free places.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

/// The number of a value in its [`Slots`]: four bytes instead of a pointer, and typed, so that a user's number cannot
/// be taken for a message's.
pub(crate) struct Slot<T>(u32, PhantomData<fn() -> T>);

impl<T> Slot<T> {
    /// The number itself.
    pub(crate) const fn number(self) -> u32 {
        self.0
    }

    /// The slot of a number taken from [`Slot::number`].
    pub(crate) const fn from_number(number: u32) -> Self {
        Self(number, PhantomData)
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slot<T> {}

impl<T> PartialEq for Slot<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> Eq for Slot<T> {}

impl<T> PartialOrd for Slot<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Slot<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl<T> Hash for Slot<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Values at stable numbers. A freed place is used again, so a number kept for longer than its value must be checked
/// with [`Slots::find`] and against the value found.
#[derive(Clone, Debug)]
pub(crate) struct Slots<T> {
    places: Vec<Option<T>>,
    free: Vec<Slot<T>>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// Puts a value into a free place.
    pub(crate) fn insert(&mut self, value: T) -> Slot<T> {
        if let Some(slot) = self.free.pop()
            && let Some(place) = self.places.get_mut(slot.0 as usize)
        {
            *place = Some(value);
            return slot;
        }
        debug_assert!(self.places.len() < u32::MAX as usize, "four billion values in one partition");
        let slot = Slot(self.places.len() as u32, PhantomData);
        self.places.push(Some(value));
        slot
    }

    /// Takes a value out; its place is free from now on.
    pub(crate) fn remove(&mut self, slot: Slot<T>) -> Option<T> {
        let value = self.places.get_mut(slot.0 as usize)?.take()?;
        self.free.push(slot);
        Some(value)
    }

    /// The value of a slot that is known to be in use.
    #[expect(clippy::expect_used, reason = "a slot freed while it is referred to is a defect: stop loudly, not on")]
    pub(crate) fn get(&self, slot: Slot<T>) -> &T {
        self.find(slot).expect("slot in use")
    }

    /// The value of a slot that is known to be in use.
    #[expect(clippy::expect_used, reason = "a slot freed while it is referred to is a defect: stop loudly, not on")]
    pub(crate) fn get_mut(&mut self, slot: Slot<T>) -> &mut T {
        self.places.get_mut(slot.0 as usize).and_then(Option::as_mut).expect("slot in use")
    }

    /// The value of a slot that may have been freed, or used again.
    pub(crate) fn find(&self, slot: Slot<T>) -> Option<&T> {
        self.places.get(slot.0 as usize).and_then(Option::as_ref)
    }

    /// All values, by slot.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot<T>, &T)> {
        let numbered = self.places.iter().enumerate();
        numbered.filter_map(|(number, place)| Some((Slot(number as u32, PhantomData), place.as_ref()?)))
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// How many places there are, free ones included: every slot's number is below it.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    /// Bytes of the places and the list of free ones; not what the values point to.
    pub(crate) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Option<T>>() + self.free.capacity() * size_of::<Slot<T>>()
    }
}
